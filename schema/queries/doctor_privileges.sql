-- doctor_privileges: what the connected role may do, whether the triggers that protect the log are on, and whether the
-- sequence of positions is as the horizon needs it.
SELECT current_user::text,
       has_function_privilege(
         (SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE n.nspname = $1 AND p.proname = 'append'), 'EXECUTE'),
       has_table_privilege(':"schema".events', 'SELECT'),
       has_table_privilege(':"schema".events', 'UPDATE, DELETE, TRUNCATE'),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       (SELECT count(*) = 5 FROM pg_trigger t
         WHERE t.tgrelid IN (':"schema".events'::regclass, ':"schema".streams'::regclass,
                             ':"schema".categories'::regclass, ':"schema".data_keys'::regclass,
                             ':"schema".master_keys'::regclass)
           AND t.tgname IN ('events_append_only', 'streams_append_only', 'categories_append_only', 'data_keys_kept',
                            'master_keys_kept')
           AND t.tgenabled = 'O'),
       (SELECT s.cache_size = 1 AND s.increment_by = 1 AND NOT s.cycle
          FROM pg_sequences s
         WHERE s.schemaname = $1
           AND s.sequencename = 'events_position_seq');
