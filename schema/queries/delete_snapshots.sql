-- delete_snapshots: see functions/delete_snapshots.sql.
SELECT :"schema".delete_snapshots($1, $2, $3);
