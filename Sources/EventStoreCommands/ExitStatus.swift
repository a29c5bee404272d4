internal import ArgumentParser
internal import EmbeddedPostgreSQL
internal import EventStore
internal import Outbox
internal import PostgreSQL
internal import Projections
internal import Replay

/// The documented exit codes.
enum ExitStatus: Int32 {
  case done = 0
  case failed = 1
  case conflict = 3
  case notFound = 4
  case unavailable = 5
  case encryption = 6
  case different = 7
  case notInTime = 8
  case usage = 64
  case badInput = 65
}

/// A command's failure: what to say, and how to exit.
struct CommandFailure: Error, CustomStringConvertible {
  var status: ExitStatus
  /// A stable name, for `--json`.
  var code: String
  var description: String
  /// Further members for `--json`.
  var details: [(String, JSONValue)] = []

  init(_ status: ExitStatus, _ code: String, _ description: String, details: [(String, JSONValue)] = []) {
    self.status = status
    self.code = code
    self.description = description
    self.details = details
  }

  /// A line on standard error, with `--json` an object.
  func complain(json: Bool) {
    guard json else { return StandardOutput.complain("esctl: \(description)") }
    let error: [(String, JSONValue)] = [("code", .string(code)), ("message", .string(description))] + details
    StandardOutput.complain(.object([("error", .object(error))]))
  }

  /// Any error that a command can meet.
  init(_ error: any Error) {
    switch error {
    case let failure as CommandFailure: self = failure
    case let error as AppendError: self.init(append: error)
    case let error as ReadError:
      switch error {
      case .unavailable: self.init(.unavailable, "unavailable", error.description)
      case .database: self.init(.failed, "database", error.description)
      case .encryption: self.init(.encryption, "encryption", error.description)
      case .cancelled: self.init(.failed, "cancelled", "interrupted")
      }
    case let error as OpenError:
      switch error {
      case .notMigrated(_, .newer), .notMigrated(_, .behind), .notMigrated(_, .upToDate):
        self.init(.failed, "notMigrated", error.description)
      case .notMigrated(_, .absent): self.init(.notFound, "noStore", error.description)
      case .encryption: self.init(.encryption, "encryption", error.description)
      case .unavailable: self.init(.unavailable, "unavailable", error.description)
      case .database(let cause) where cause.code == .cancelled: self.init(.failed, "cancelled", "interrupted")
      case .database: self.init(.failed, "database", error.description)
      }
    case let error as PostgreSQLError where error.code == .cancelled: self.init(.failed, "cancelled", "interrupted")
    case let error as PostgreSQLError:
      self.init(
        error.isUnavailable ? .unavailable : .failed, error.isUnavailable ? "unavailable" : "database",
        error.isUnavailable ? "the database is unavailable: \(error)" : error.description)
    case let error as MigrationError:
      if case .database(let cause) = error, cause.isUnavailable {
        self.init(.unavailable, "unavailable", "the database is unavailable: \(cause)")
      } else {
        self.init(.failed, "migration", error.description)
      }
    case let error as EncryptionError: self.init(.encryption, "encryption", error.description)
    case let error as AggregateError: self.init(aggregate: error)
    case let error as ReadModelError: self.init(readModel: error)
    case let error as ProjectionError: self.init(projection: error)
    case let error as OutboxError: self.init(outbox: error)
    case let error as ProjectionFailure: self.init(.failed, "projectionStopped", error.description)
    case let error as PayloadError: self.init(.encryption, error.code, error.description)
    case let error as EmbeddedClusterError: self.init(.unavailable, "embeddedServer", error.description)
    case let error as PostgreSQLInstallationError: self.init(.unavailable, "embeddedServer", error.description)
    case InputError.interrupted: self.init(.failed, "cancelled", "interrupted")
    case let error as InputError: self.init(.badInput, "badInput", error.description)
    case let error as RowTemplateError: self.init(.usage, "usage", error.description)
    case let error as TimeFormatError: self.init(.usage, "usage", error.description)
    case let error as TimestampArgumentError: self.init(.usage, "usage", error.description)
    case let error as InvalidCronExpression: self.init(.usage, "usage", error.description)
    case let error as InvalidName: self.init(.usage, "usage", error.description)
    case is CancellationError: self.init(.failed, "cancelled", "interrupted")
    default: self.init(.failed, "failed", "\(error)")
    }
  }

  private init(aggregate error: AggregateError) {
    switch error {
    case .notFound: self.init(.notFound, "notFound", error.description)
    case .alreadyExists: self.init(.conflict, "alreadyExists", error.description)
    case .versionNotReached: self.init(.notFound, "versionNotReached", error.description)
    case .notYet: self.init(.notFound, "notYet", error.description)
    case .event(_, _, .payload(let cause)): self.init(.encryption, cause.code, error.description)
    case .event: self.init(.failed, "event", error.description)
    case .missing: self.init(.failed, "missing", error.description)
    case .invalidName: self.init(.usage, "usage", error.description)
    }
  }

  private init(outbox error: OutboxError) {
    switch error {
    case .notFound: self.init(.notFound, "notFound", error.description)
    case .notParked: self.init(.notFound, "notParked", error.description)
    case .exists, .scheduleExists: self.init(.conflict, "exists", error.description)
    case .scheduleNotFound: self.init(.notFound, "notFound", error.description)
    case .invalid: self.init(.badInput, "badInput", error.description)
    case .stopped: self.init(.failed, "groupStopped", error.description)
    case .handlersStuck: self.init(.failed, "handlersStuck", error.description)
    }
  }

  private init(projection error: ProjectionError) {
    switch error {
    case .notFound: self.init(.notFound, "notFound", error.description)
    case .noBuild: self.init(.notFound, "noBuild", error.description)
    case .codeMissing: self.init(.notFound, "codeMissing", error.description)
    case .exists: self.init(.conflict, "exists", error.description)
    case .underWay: self.init(.conflict, "underWay", error.description)
    case .notCaughtUp: self.init(.conflict, "notCaughtUp", error.description)
    case .paused: self.init(.conflict, "paused", error.description)
    case .nameTaken: self.init(.conflict, "nameTaken", error.description)
    case .dependents: self.init(.conflict, "dependents", error.description)
    case .versionGoesBack: self.init(.badInput, "versionGoesBack", error.description)
    case .changed: self.init(.badInput, "changed", error.description)
    case .stopped: self.init(.failed, "projectionStopped", error.description)
    case .busy: self.init(.notInTime, "busy", error.description)
    case .timedOut: self.init(.notInTime, "timedOut", error.description)
    case .invalid: self.init(.usage, "usage", error.description)
    }
  }

  private init(readModel error: ReadModelError) {
    let code =
      switch error.reason {
      case .file: "readModel"
      case .foreignTable: "foreignTable"
      case .unhandledType: "unhandledType"
      case .apply: "readModelApply"
      }
    self.init(.badInput, code, error.description)
  }

  private init(append error: AppendError) {
    switch error {
    case .conflict(let conflict):
      self.init(
        .conflict, "conflict", error.description,
        details: [
          ("stream", .string(conflict.stream.description)), ("expected", .string(conflict.expected.description)),
          ("actual", .integer(conflict.actual)),
        ])
    case .duplicateEventID: self.init(.conflict, "duplicateEventId", error.description)
    case .invalid: self.init(.badInput, "badInput", error.description)
    case .encryption: self.init(.encryption, "encryption", error.description)
    case .unavailable: self.init(.unavailable, "unavailable", error.description)
    case .outcomeUnknown: self.init(.unavailable, "outcomeUnknown", error.description)
    case .database: self.init(.failed, "database", error.description)
    case .projection: self.init(.failed, "inlineProjection", error.description)
    case .cancelled: self.init(.failed, "cancelled", error.description)
    }
  }
}
