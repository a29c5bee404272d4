-- advance_projection: see the function.
SELECT :"schema".advance_projection($1, $2, $3, $4, $5);
