-- join_outbox_group: makes $1 a member of group $2, the process $3 with the advisory lock $4, for $5 milliseconds.
INSERT INTO :"schema".outbox_members (group_id, member, process, presence, expires_at)
VALUES ($2, $1, $3, CASE WHEN :"schema".is_present(':"schema".outbox_members', $4) THEN $4 END,
        clock_timestamp() + $5 * interval '1 millisecond');
