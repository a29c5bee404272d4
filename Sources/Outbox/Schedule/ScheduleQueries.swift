internal import EventStore
internal import PostgreSQL

/// The statements of schema/queries about schedules, for one store's schema.
struct ScheduleQueries: Sendable {
  let create: Statement
  let all: Statement
  let kept: Statement
  let cancel: Statement
  let preview: Statement
  let wait: Statement
  let due: Statement
  let move: Statement
  let postpone: Statement

  init(_ schema: SchemaName) {
    let statement = schema.statement
    create = statement(SQL.`queries/create_schedule`)
    all = statement(SQL.`queries/schedules`)
    kept = statement(SQL.`queries/kept_event`)
    cancel = statement("DELETE FROM :\"schema\".schedules WHERE name = $1 RETURNING name")
    preview = statement(SQL.`queries/schedule_preview`)
    wait = statement(
      "SELECT extract(epoch FROM min(look_at) - clock_timestamp())::float8 FROM :\"schema\".schedules")
    due = statement(SQL.`queries/due_schedules`)
    move = statement(SQL.`queries/move_schedules`)
    postpone = statement(SQL.`queries/postpone_schedule`)
  }
}
