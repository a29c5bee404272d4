-- append_placed: see functions/append_placed.sql.
SELECT :"schema".append_placed($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);
