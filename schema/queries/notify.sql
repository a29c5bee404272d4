-- notify: a hint to readers that something was appended; $1 the channel. Never inside an append's transaction: NOTIFY
-- takes a lock of the whole cluster at commit. Losing it costs nothing but a few milliseconds.
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '');
