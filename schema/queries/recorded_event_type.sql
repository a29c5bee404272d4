-- recorded_event_type: the number of the type that sets of events are passed as.
SELECT ':"schema".recorded_event'::regtype::oid::bigint;
