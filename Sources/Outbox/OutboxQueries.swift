internal import EventStore
internal import PostgreSQL

/// The statements of schema/queries about consumer groups, for one store's schema.
struct OutboxQueries: Sendable {
  let groups: Statement
  let create: Statement
  let update: Statement
  let revision: Statement
  let lockGroup: Statement
  let fence: Statement
  let countBehind: Statement
  let delete: Statement
  let setPaused: Statement
  let resume: Statement
  let stop: Statement
  let seek: Statement
  let join: Statement
  let leave: Statement
  let presenceLock: Statement
  let heartbeat: Statement
  let claim: Statement
  let begin: Statement
  let move: Statement
  let settle: Statement
  let split: Statement
  let merge: Statement
  let keys: Statement
  let deferred: Statement
  let backlog: Statement
  let end: Statement
  let positionAt: Statement
  let isEmpty: Statement
  let lag: Statement
  let members: Statement
  let parked: Statement
  let fingerprints: Statement
  let redrive: Statement
  let replay: Statement
  let discard: Statement
  let oldParked: Statement
  let audit: Statement
  let audited: Statement

  init(_ schema: SchemaName) {
    let statement = schema.statement
    func update(_ assignment: String) -> Statement {
      statement(
        "UPDATE :\"schema\".outbox_groups SET revision = revision + 1, \(assignment) WHERE group_id = $1 RETURNING revision"
      )
    }
    groups = statement(SQL.`queries/outbox_groups`)
    create = statement("SELECT :\"schema\".create_outbox_group($1, $2, $3)")
    self.update = update("definition = $2::jsonb")
    revision = statement("SELECT revision FROM :\"schema\".outbox_groups WHERE group_id = $1")
    // What claims, splits and merges take, too.
    lockGroup = statement(
      "SELECT definition::text FROM :\"schema\".outbox_groups WHERE group_id = $1 FOR NO KEY UPDATE")
    fence = statement(SQL.`queries/fence_outbox_group`)
    countBehind = statement(
      "SELECT count(*), count(*) FILTER (WHERE due_at = 'infinity') FROM :\"schema\".outbox_keys WHERE group_id = $1")
    delete = statement("DELETE FROM :\"schema\".outbox_groups WHERE group_id = $1")
    setPaused = update("paused_at = coalesce(paused_at, clock_timestamp())")
    resume = update("paused_at = NULL, failure = NULL")
    stop = update("failure = $2::jsonb")
    seek = statement("SELECT :\"schema\".seek_outbox_group($1, $2)")
    join = statement(SQL.`queries/join_outbox_group`)
    leave = statement(SQL.`queries/leave_outbox_group`)
    presenceLock = statement(
      "SELECT pg_try_advisory_lock((':\"schema\".outbox_members'::regclass::oid::bigint)::bit(32)::integer, $1)")
    heartbeat = statement("SELECT * FROM :\"schema\".outbox_heartbeat($1, $2, $3, $4)")
    claim = statement("SELECT :\"schema\".outbox_claim($1, $2)")
    begin = statement(
      "SELECT c.id, b.* FROM unnest($1::bigint[]) AS c (id) CROSS JOIN LATERAL :\"schema\".outbox_begin(c.id, $2) b")
    move = statement(SQL.`queries/outbox_move`)
    settle = statement(SQL.`queries/outbox_settle`)
    split = statement("SELECT :\"schema\".outbox_split($1, $2, $3::bit(256), $4)")
    merge = statement("SELECT :\"schema\".outbox_merge($1, $2, $3, $4, $5, $6, $7)")
    keys = statement(SQL.`queries/outbox_keys`)
    deferred = statement(SQL.`queries/outbox_deferred`)
    backlog = statement(SQL.`queries/outbox_backlog`)
    end = statement(SQL.`queries/end_of_log`)
    lag = statement(SQL.`queries/outbox_lag`)
    members = statement(SQL.`queries/outbox_members`)
    parked = statement(SQL.`queries/outbox_parked`)
    fingerprints = statement(SQL.`queries/outbox_fingerprints`)
    replay = statement("SELECT :\"schema\".replay_outbox($1, $2, $3, $4, $5, $6)")
    redrive = statement("SELECT :\"schema\".redrive_outbox($1, $2, $3)")
    discard = statement("SELECT :\"schema\".discard_outbox($1, $2, $3)")
    oldParked = statement(
      "SELECT position FROM :\"schema\".outbox_parked WHERE group_id = $1 AND parked_at < $2 AND NOT holds_key")
    audit = statement(
      "INSERT INTO :\"schema\".outbox_audit (group_id, name, action, details) VALUES ($1, $2, $3, $4::text::jsonb)")
    audited = statement(
      "SELECT at, by, action, details::text FROM :\"schema\".outbox_audit WHERE name = $1 ORDER BY audit_id DESC LIMIT $2"
    )
    isEmpty = statement(SQL.`queries/outbox_is_empty`)
    positionAt = statement(SQL.`queries/position_at`)
  }
}
