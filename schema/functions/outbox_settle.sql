-- outbox_settle: moves a cursor, together with everything that went otherwise than well: keys that are behind or have caught
-- up, single events, dead letters. All of it, or nothing where the cursor is another's by now (SQLSTATE ESO01).
CREATE OR REPLACE FUNCTION outbox_settle(
  cursor bigint, of_epoch bigint, reached bigint, still_open bytea, above bigint[], count bigint,
  -- keys, with how far they are; attempts below 0: the key is at its cursor again
  keys text[], key_shards bigint[], key_positions bigint[], key_delays bigint[], key_attempts bigint[],
  key_ages bigint[], key_problems text[],
  -- single events; attempts below 0: it is done
  deferred bigint[], deferred_keys text[], deferred_shards bigint[], deferred_delays bigint[],
  deferred_attempts bigint[], deferred_ages bigint[], deferred_problems text[], deferred_reasons text[],
  -- dead letters
  parked bigint[], parked_keys text[], parked_shards bigint[], parked_streams text[], parked_versions bigint[],
  parked_types text[], parked_ids uuid[], parked_problems text[], parked_fingerprints text[], parked_attempts bigint[],
  parked_ages bigint[], parked_holds boolean[], consumer text
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  place tid;
  mine  integer;
BEGIN
  UPDATE outbox_positions p
     SET position = reached,
         open     = still_open,
         floors   = above,
         handled  = p.handled + count
   WHERE p.cursor_id = cursor
     AND p.epoch = of_epoch
  RETURNING p.ctid INTO place;
  IF place IS NULL THEN
    RAISE EXCEPTION 'cursor % is not at epoch % any more: another member has taken it over', cursor, of_epoch
      USING ERRCODE = 'ESO01';
  END IF;
  SELECT c.group_id INTO mine FROM outbox_cursors c WHERE c.cursor_id = cursor;

  -- Delays and ages are milliseconds by the server's clock, whatever the consumer's says; no delay: held.
  INSERT INTO outbox_keys AS k (group_id, key, shard, position, due_at, attempts, first_failed_at, problem)
  SELECT mine, n.key, n.shard, n.position,
         coalesce(clock_timestamp() + n.delay * interval '1 millisecond', 'infinity'), n.attempts,
         clock_timestamp() - n.age * interval '1 millisecond', n.problem
    FROM unnest(keys, key_shards, key_positions, key_delays, key_attempts, key_ages, key_problems)
           AS n (key, shard, position, delay, attempts, age, problem)
   WHERE n.attempts >= 0
      ON CONFLICT (group_id, key) DO UPDATE
     SET position        = excluded.position,
         due_at          = excluded.due_at,
         attempts        = excluded.attempts,
         first_failed_at = excluded.first_failed_at,
         problem         = excluded.problem;
  DELETE FROM outbox_keys k
   USING unnest(keys, key_attempts) AS n (key, attempts)
   WHERE k.group_id = mine
     AND k.key = n.key
     AND n.attempts < 0;

  INSERT INTO outbox_deferred AS d (group_id, position, key, shard, reason, due_at, attempts, first_failed_at, problem)
  SELECT mine, n.position, n.key, n.shard, n.reason,
         clock_timestamp() + n.delay * interval '1 millisecond', n.attempts,
         clock_timestamp() - n.age * interval '1 millisecond', n.problem
    FROM unnest(deferred, deferred_keys, deferred_shards, deferred_delays, deferred_attempts, deferred_ages,
                deferred_problems, deferred_reasons)
           AS n (position, key, shard, delay, attempts, age, problem, reason)
   WHERE n.attempts >= 0
      ON CONFLICT (group_id, position) DO UPDATE
     SET due_at          = excluded.due_at,
         attempts        = excluded.attempts,
         first_failed_at = excluded.first_failed_at,
         problem         = excluded.problem;
  DELETE FROM outbox_deferred d
   USING unnest(deferred, deferred_attempts) AS n (position, attempts)
   WHERE d.group_id = mine
     AND d.position = n.position
     AND n.attempts < 0;

  INSERT INTO outbox_parked AS d (group_id, position, key, shard, stream, version, type, event_id, problem, fingerprint,
                                  attempts, first_failed_at, consumer, holds_key)
  SELECT mine, n.position, n.key, n.shard, n.stream, n.version, n.type, n.id, n.problem, n.fingerprint, n.attempts,
         clock_timestamp() - n.age * interval '1 millisecond', outbox_settle.consumer, n.holds
    FROM unnest(parked, parked_keys, parked_shards, parked_streams, parked_versions, parked_types, parked_ids,
                parked_problems, parked_fingerprints, parked_attempts, parked_ages, parked_holds)
           AS n (position, key, shard, stream, version, type, id, problem, fingerprint, attempts, age, holds)
      ON CONFLICT (group_id, position) DO UPDATE
     SET problem         = excluded.problem,
         fingerprint     = excluded.fingerprint,
         attempts        = excluded.attempts,
         parked_at       = statement_timestamp(),
         consumer        = excluded.consumer,
         holds_key       = excluded.holds_key;
  RETURN place::text;
END
$$;
