internal import FoundationEssentials
internal import PostgreSQL

/// The statements of schema/queries, for one store's schema. (A class: one reference, not one a statement.)
final class Queries: Sendable {
  let store: Statement
  let registerMasterKey: Statement
  let append: Statement
  let appendEvent: Statement
  let appendPlaced: Statement
  let horizon: Statement
  let streamsByName: Statement
  let streamsByID: Statement
  let categoriesByName: Statement
  let keysByID: Statement
  let keysBySubject: Statement
  let streamVersion: Statement
  let streamForwards: Statement
  let streamBackwards: Statement
  let logRange: Statement
  let logRangeFiltered: Statement
  let notify: Statement
  let streamIDs: Statement
  let streamEvents: Statement
  let latestSnapshot: Statement
  let saveSnapshot: Statement
  let grownStreams: Statement
  let settledPosition: Statement
  let eventsAt: Statement
  let keepDataKey: Statement
  let tailKinds: Statement
  /// What appenders notify and readers listen to.
  let channel: String

  init(_ schema: SchemaName) {
    let statement = schema.statement
    store = statement(SQL.`queries/store`)
    registerMasterKey = statement(SQL.`queries/register_master_key`)
    append = statement(SQL.`queries/append`)
    appendEvent = statement(SQL.`queries/append_event`)
    appendPlaced = statement(SQL.`queries/append_placed`)
    horizon = statement(SQL.`queries/horizon`)
    streamsByName = statement(SQL.`queries/streams_by_name`)
    streamsByID = statement(SQL.`queries/streams_by_id`)
    categoriesByName = statement(SQL.`queries/categories_by_name`)
    keysByID = statement(SQL.`queries/keys_by_id`)
    keysBySubject = statement(SQL.`queries/keys_by_subject`)
    streamVersion = statement(SQL.`queries/stream_version`)
    streamForwards = statement(SQL.`queries/stream_forwards`)
    streamBackwards = statement(SQL.`queries/stream_backwards`)
    logRange = statement(SQL.`queries/log_range`)
    logRangeFiltered = statement(SQL.`queries/log_range_filtered`)
    notify = statement(SQL.`queries/notify`)
    streamIDs = statement(SQL.`queries/stream_ids`)
    streamEvents = statement(SQL.`queries/stream_events`)
    latestSnapshot = statement(SQL.`queries/latest_snapshot`)
    saveSnapshot = statement(SQL.`queries/save_snapshot`)
    grownStreams = statement(SQL.`queries/grown_streams`)
    settledPosition = statement(SQL.`queries/settled_position`)
    eventsAt = statement(SQL.`queries/events_at`)
    keepDataKey = statement(SQL.`queries/keep_data_key`)
    tailKinds = statement(SQL.`queries/tail_kinds`)
    channel = "\(schema.name)_appended"
  }
}
