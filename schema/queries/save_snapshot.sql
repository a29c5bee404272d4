-- save_snapshot: see functions/save_snapshot.sql.
SELECT :"schema".save_snapshot($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);
