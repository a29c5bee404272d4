internal import EventStore
internal import PostgreSQL

/// The statements of schema/queries about projections, for one store's schema.
struct ProjectionQueries: Sendable {
  let builds: Statement
  let source: Statement
  let lag: Statement
  let create: Statement
  let remove: Statement
  let checkpoints: Statement
  let lockCheckpoint: Statement
  let advance: Statement
  let beginLoad: Statement
  let endLoad: Statement
  let takeLease: Statement
  let renewLeases: Statement
  let releaseLeases: Statement
  let leaseLock: Statement
  let rebuildLock: Statement
  let skip: Statement
  let skipped: Statement
  let unskip: Statement
  let views: Statement
  let nameClash: Statement
  let columns: Statement
  let oldSnapshots: Statement
  let lockBuilds: Statement
  let setIndexed: Statement
  let setCaughtUp: Statement
  let setPaused: Statement
  let setFailure: Statement
  let setRole: Statement
  let setGoesLive: Statement
  let engage: Statement
  let engaged: Statement
  let recordedTimes: Statement
  let lockLog: Statement
  let end: Statement
  let reset: Statement
  let resetCheckpoint: Statement
  let resetSkipped: Statement

  init(_ schema: SchemaName) {
    let statement = schema.statement
    func update(_ assignment: String) -> Statement {
      statement("UPDATE :\"schema\".projection_builds SET \(assignment) WHERE build = $1")
    }
    builds = statement(SQL.`queries/projection_builds`)
    source = statement("SELECT source FROM :\"schema\".projection_builds WHERE build = $1")
    lag = statement(SQL.`queries/projection_lag`)
    create = statement(SQL.`queries/create_projection_build`)
    remove = statement("DELETE FROM :\"schema\".projection_builds WHERE build = $1")
    checkpoints = statement(
      "SELECT part, position FROM :\"schema\".projection_checkpoints WHERE build = $1 ORDER BY part")
    lockCheckpoint = statement(
      "SELECT position FROM :\"schema\".projection_checkpoints WHERE build = $1 AND part = -1 FOR UPDATE")
    advance = statement(SQL.`queries/advance_projection`)
    beginLoad = statement(SQL.`queries/begin_projection_load`)
    endLoad = statement(SQL.`queries/end_projection_load`)
    takeLease = statement(SQL.`queries/take_projection_lease`)
    renewLeases = statement(SQL.`queries/renew_projection_leases`)
    releaseLeases = statement(SQL.`queries/release_projection_leases`)
    leaseLock = statement(
      "SELECT pg_try_advisory_lock((':\"schema\".projection_leases'::regclass::oid::bigint)::bit(32)::integer, $1)")
    rebuildLock = statement(
      "SELECT pg_try_advisory_lock((':\"schema\".projection_builds'::regclass::oid::bigint)::bit(32)::integer, $1)")
    skip = statement(SQL.`queries/skip_projection_event`)
    skipped = statement(SQL.`queries/skipped_projection_events`)
    unskip = statement("DELETE FROM :\"schema\".projection_skipped WHERE build = $1 AND position = $2")
    views = statement(SQL.`queries/projection_views`)
    nameClash = statement(SQL.`queries/projection_name_clash`)
    columns = statement(SQL.`queries/model_columns`)
    oldSnapshots = statement(SQL.`queries/old_snapshots`)
    lockBuilds = statement(SQL.`queries/lock_builds`)
    setIndexed = update("is_indexed = true")
    setCaughtUp = update("caught_up_at = clock_timestamp()")
    setPaused = update("paused_at = CASE WHEN $2 THEN coalesce(paused_at, clock_timestamp()) END")
    setFailure = update("failure = $2::text::jsonb")
    setRole = update("role = $2, goes_live = false, live_since = CASE WHEN $2 = 'live' THEN clock_timestamp() END")
    setGoesLive = update("goes_live = $2")
    engage = statement("SELECT :\"schema\".engage_projection($1, $2)")
    engaged = statement(SQL.`queries/engaged_projections`)
    recordedTimes = statement(SQL.`queries/recorded_times`)
    lockLog = statement("SELECT :\"schema\".lock_log()")
    end = statement("SELECT coalesce(max(position), 0) FROM :\"schema\".events")
    reset = update("caught_up_at = NULL, failure = NULL")
    resetCheckpoint = statement(SQL.`queries/reset_projection_checkpoint`)
    resetSkipped = statement("DELETE FROM :\"schema\".projection_skipped WHERE build = $1")
  }
}
