-- doctor_settings: the settings that a promise of the store leans on.
SELECT name, setting
  FROM pg_settings
 WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums', 'server_version_num',
                'max_connections', 'autovacuum', 'idle_in_transaction_session_timeout', 'log_min_duration_statement',
                'log_statement', 'log_parameter_max_length', 'log_parameter_max_length_on_error', 'ssl',
                'synchronous_standby_names', 'client_min_messages');
