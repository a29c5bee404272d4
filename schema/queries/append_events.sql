-- append_events: see functions/append_events.sql.
SELECT :"schema".append_events($1, $2, $3, $4, $5, $6, $7, $8);
