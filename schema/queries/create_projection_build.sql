-- create_projection_build: see the function.
SELECT :"schema".create_projection_build($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);
