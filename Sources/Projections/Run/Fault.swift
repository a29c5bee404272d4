internal import EventStore
internal import PostgreSQL
internal import Replay

/// What to make of an error while events were applied.
enum Fault {
  /// One of the events cannot be applied: its data or the code are wrong.
  case event(problem: String)
  /// An event cannot be applied, and it is not the event: a table, a privilege, a function or a key is missing. Others would
  /// fail as it does, so that none is ever skipped for it.
  case surroundings(problem: String)
  /// Another runner has moved the checkpoint: look again where it is.
  case overtaken
  /// It may go well later.
  case transient
  /// It may go well with less at a time.
  case tooLong(problem: String)
  /// It will not, whatever the event.
  case permanent(problem: String)
  case cancelled

  /// Whether it is met where an event is applied: then its batch is divided until that is found.
  var isOfEvent: Bool {
    switch self {
    case .event, .surroundings: true
    default: false
    }
  }

  /// Where no events are applied there is nothing to divide: it is tried again.
  var isWaitedFor: Bool {
    switch self {
    case .transient, .tooLong: true
    default: false
    }
  }

  /// What is written down, and whether a policy may pass over the event for it.
  var verdict: (problem: String, maySkip: Bool) {
    switch self {
    case .event(let problem): (problem, true)
    case .surroundings(let problem), .tooLong(let problem), .permanent(let problem): (problem, false)
    case .overtaken, .transient, .cancelled: ("", false)
    }
  }

  init(_ error: any Error) {
    switch error {
    case is CancellationError: self = .cancelled
    case let error as PostgreSQLError: self.init(error)
    case let error as ReadError:
      switch error {
      case .cancelled: self = .cancelled
      case .unavailable: self = .transient
      case .database(let error): self.init(error)
      case .encryption(let error): self = .permanent(problem: error.description)
      }
    case let error as OpenError:
      switch error {
      case .unavailable: self = .transient
      case .database(let error): self.init(error)
      default: self = .permanent(problem: error.description)
      }
    case let error as ReadModelError:
      switch error.reason {
      case .apply where error.sqlState?.hasPrefix("42") == true: self = .surroundings(problem: error.description)
      case .apply, .unhandledType: self = .event(problem: error.description)
      case .file, .foreignTable: self = .permanent(problem: error.description)
      }
    case let error as TookTooLong: self = .tooLong(problem: error.failure.problem)
    case let error as ProjectionFailure: self = .permanent(problem: error.problem)
    case AggregateError.event(_, _, .payload(let cause)) where cause.isOfKey:
      self = .surroundings(problem: Self.words(error))
    case CodecError.payload(let cause) where cause.isOfKey: self = .surroundings(problem: cause.description)
    case let error as PayloadError where error.isOfKey: self = .surroundings(problem: error.description)
    case let error as AggregateError: self = .event(problem: error.description)
    default: self = .event(problem: Self.words(error))
    }
  }

  /// What may be written down of an error of a projection's own code: what its author says of it. A decoder's errors, and
  /// those that say nothing, would tell values.
  private static func words(_ error: any Error) -> String {
    switch error {
    case is DecodingError, is EncodingError: "\(type(of: error))"
    case let error as any CustomStringConvertible: error.description
    default: "\(type(of: error))"
    }
  }

  private init(_ error: PostgreSQLError) {
    switch error.code {
    case .cancelled: self = .cancelled
    case .connectFailed, .connectionLost, .unconfirmed, .poolTimeout, .closed: self = .transient
    case .timeout: self = .tooLong(problem: "it took longer than it may: \(error)")
    case .unexpectedResult: self = .permanent(problem: error.description)
    case .server:
      let state = error.sqlState ?? ""
      switch state.prefix(2) {
      case _ where state == "ESP01": self = .overtaken
      // Code has gone on in a transaction in which one of its statements had failed.
      case _ where state == "25P02": self = .event(problem: "a statement of it had failed (SQLSTATE \(state))")
      // An idle transaction's time is over; temporary files are larger than they may be.
      case _ where state == "25P03" || state == "53400": self = .tooLong(problem: error.description)
      // Connections, serialisation and deadlocks, resources (a full disk), locks, an operator's doing, the system.
      case "08", "40", "53", "55", "57", "58", "25": self = .transient
      case "21", "22", "23", "54", "P0": self = .event(problem: Self.words(of: error, state))
      case "42": self = .surroundings(problem: Self.words(of: error, state))
      default: self = .permanent(problem: "SQLSTATE \(state)")
      }
    }
  }

  private static func words(of error: PostgreSQLError, _ state: String) -> String {
    error.quotesNoValue ? error.description : "SQLSTATE \(state)"
  }
}

extension PayloadError {
  /// The keyring, the store's keys or what is declared plaintext are not as they should be; the payload may be.
  fileprivate var isOfKey: Bool {
    switch self {
    case .masterKeyMissing, .dataKeyMissing, .dataKeyAltered, .notSealed: true
    case .shredded, .altered, .malformed: false
    }
  }
}
