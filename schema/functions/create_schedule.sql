-- create_schedule: keeps an event that is to be appended later, and the data key that it is sealed with where the store may not
-- have that yet.
--
-- Returns whether it was kept: false where there is one of this name; null where its cron expression names no time, or none before
-- it ends.
CREATE OR REPLACE FUNCTION create_schedule(
  name text, event_id uuid, stream text, type text, schema_version integer, occurred_at timestamptz, metadata bytea,
  subject text, data bytea, key_id uuid, key_subject text, key_master text, key_wrapped bytea, cron text, cron_fields jsonb,
  time_zone text, each_missed boolean, ends_at timestamptz, at timestamptz
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_variable
DECLARE
  due timestamptz;
BEGIN
  IF EXISTS (SELECT FROM schedules s WHERE s.name = create_schedule.name) THEN
    RETURN false;
  END IF;
  due := coalesce(at, next_occurrence(cron_fields, time_zone, clock_timestamp()));
  IF due IS NULL OR due > ends_at THEN
    RETURN NULL;
  END IF;
  INSERT INTO schedules (name, event_id, stream, type, schema_version, occurred_at, metadata, subject, data, cron, cron_fields,
                         time_zone, each_missed, ends_at, due_at, look_at)
  VALUES (name, event_id, stream, type, schema_version, occurred_at, metadata, subject, data, cron, cron_fields, time_zone,
          each_missed, ends_at, due, due)
      ON CONFLICT ON CONSTRAINT schedules_pkey DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF key_id IS NOT NULL THEN
    INSERT INTO data_keys (key_id, subject, master_key_id, wrapped_key)
    VALUES (key_id, key_subject, key_master, key_wrapped)
        ON CONFLICT DO NOTHING;
  END IF;
  RETURN true;
END
$$;
