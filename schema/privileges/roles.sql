-- roles: four group roles a store, <schema>_writer (append and read), <schema>_reader (read), <schema>_projector (read, and
-- keep projections; it also needs CREATE on the database) and <schema>_consumer (read, and keep consumer groups). None can
-- change or remove an event; the first two write to no table but through the functions, and schedules. Grant them to your login
-- roles.
--
-- Where the migrating role may not create roles, an administrator makes them first or goes without.
DO $$
DECLARE
  store  text := current_schema();
  writer text := current_schema() || '_writer';
  reader text := current_schema() || '_reader';
  runner text := current_schema() || '_projector';
  member text := current_schema() || '_consumer';
  name   text;
BEGIN
  EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC', store);
  EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', store);

  FOREACH name IN ARRAY ARRAY[writer, reader, runner, member] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      IF NOT (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        CONTINUE;
      END IF;
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;  -- Another database of the cluster made it just now.
      END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', store, name);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', store, name);
    EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', store, name);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.horizon() TO %I', store, name);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %1$I.live_outbox_members, %1$I.is_present, %1$I.next_occurrence TO %2$I',
                   store, name);
  END LOOP;

  IF EXISTS (SELECT FROM pg_roles WHERE rolname = writer) THEN
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.append TO %I', store, writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.append_event TO %I', store, writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.append_placed TO %I', store, writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.stream_ids TO %I', store, writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.register_master_key TO %I', store, writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.keep_data_key TO %I', store, writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.save_snapshot TO %I', store, writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.delete_snapshots TO %I', store, writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.engaged_projections TO %I', store, writer);
    -- What is scheduled is appended by a writer, too.
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.create_schedule TO %I', store, writer);
    EXECUTE format('GRANT UPDATE, DELETE ON %I.schedules TO %I', store, writer);
  END IF;

  IF EXISTS (SELECT FROM pg_roles WHERE rolname = runner) THEN
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %1$I.projection_builds, %1$I.projection_checkpoints,
                                                    %1$I.projection_leases, %1$I.projection_skipped TO %2$I',
                   store, runner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.create_projection_build TO %I', store, runner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.advance_projection TO %I', store, runner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.end_projection_load TO %I', store, runner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.engaged_projections TO %I', store, runner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.engage_projection TO %I', store, runner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.lock_log TO %I', store, runner);
    -- To see the snapshots of others, which a switch waits for.
    BEGIN
      EXECUTE format('GRANT pg_read_all_stats TO %I', runner);
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;  -- Then an administrator does, or a switch does not wait for the transactions of other roles.
    END;
  END IF;

  IF EXISTS (SELECT FROM pg_roles WHERE rolname = member) THEN
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %1$I.outbox_groups, %1$I.outbox_members, %1$I.outbox_cursors,
                                                    %1$I.outbox_positions, %1$I.outbox_keys, %1$I.outbox_deferred,
                                                    %1$I.outbox_parked TO %2$I',
                   store, member);
    -- What people did is written down, and stays.
    EXECUTE format('GRANT INSERT ON %I.outbox_audit TO %I', store, member);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %1$I.create_outbox_group, %1$I.seek_outbox_group, %1$I.outbox_heartbeat,
                                              %1$I.outbox_begin, %1$I.outbox_claim, %1$I.outbox_settle, %1$I.outbox_split,
                                              %1$I.outbox_merge, %1$I.redrive_outbox, %1$I.discard_outbox,
                                              %1$I.replay_outbox TO %2$I',
                   store, member);
  END IF;
END
$$;
