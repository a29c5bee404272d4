-- save_snapshot: keeps a snapshot, and of its stream and state type the newest `kept` of the same shape, and the newest
-- of every other shape for a week: a program of another version may still run. A newer one is never replaced by an
-- older one; one of the same version was made from the same events, or is damaged.
CREATE OR REPLACE FUNCTION save_snapshot(
  stream_id bigint, state_type text, schema_version integer, fingerprint bytea, version bigint, event_id uuid,
  latest_time timestamptz, checksum bytea, data bytea, kept integer
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO snapshots AS s (stream_id, state_type, schema_version, fingerprint, version, event_id, latest_time,
                              checksum, data)
  VALUES (save_snapshot.stream_id, save_snapshot.state_type, save_snapshot.schema_version, save_snapshot.fingerprint,
          save_snapshot.version, save_snapshot.event_id, save_snapshot.latest_time, save_snapshot.checksum,
          save_snapshot.data)
      ON CONFLICT ON CONSTRAINT snapshots_pkey DO UPDATE
     SET event_id = excluded.event_id, latest_time = excluded.latest_time, checksum = excluded.checksum,
         data = excluded.data, created_at = statement_timestamp()
   WHERE (s.event_id, s.latest_time, s.checksum) IS DISTINCT FROM
         (excluded.event_id, excluded.latest_time, excluded.checksum)
      OR sha256(s.data) <> sha256(excluded.data);

  DELETE FROM snapshots s
   USING (SELECT o.ctid,
                 o.schema_version = save_snapshot.schema_version AND o.fingerprint = save_snapshot.fingerprint AS own,
                 row_number() OVER (PARTITION BY o.schema_version, o.fingerprint ORDER BY o.version DESC) AS age
            FROM snapshots o
           WHERE o.stream_id = save_snapshot.stream_id
             AND o.state_type = save_snapshot.state_type) old
   WHERE s.ctid = old.ctid
     AND s.stream_id = save_snapshot.stream_id
     AND (CASE WHEN old.own THEN old.age > kept
               ELSE old.age > 1 OR s.created_at < now() - interval '7 days' END);
END
$$;
