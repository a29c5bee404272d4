-- end_projection_load: see the function.
SELECT :"schema".end_projection_load($1, $2, $3, $4);
