-- skip_projection_event: writes down an event that build $1 passes over.
INSERT INTO :"schema".projection_skipped (build, position, stream, version, type, event_id, problem)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (build, position) DO UPDATE
   SET problem = excluded.problem, at = statement_timestamp();
