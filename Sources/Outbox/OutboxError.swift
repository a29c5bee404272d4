public import EventStore

/// What was asked of consumer groups cannot be done.
public enum OutboxError: Error, Sendable, Hashable, CustomStringConvertible {
  /// There is no group of this name.
  case notFound(group: String)
  /// There is one of this name already; nothing was changed.
  case exists(group: String)
  /// There is no dead letter at this position.
  case notParked(group: String, Position)
  /// It makes no sense as it is.
  case invalid(String)
  /// The group has stopped at an event, and waits for a person.
  case stopped(group: String, GroupFailure)
  /// So many handlers of this process have not returned long after their time, cancelled or not: it can start nothing any more.
  case handlersStuck(group: String, count: Int)
  /// There is no schedule of this name: its event has been appended, or it was cancelled, or never made.
  case scheduleNotFound(name: String)
  /// There is one of this name already, with another event, or at another time.
  case scheduleExists(name: String)

  public var description: String {
    switch self {
    case .notFound(let group): "there is no consumer group \(group.debugDescription)"
    case .exists(let group):
      "there is a consumer group \(group.debugDescription) already: update it, or choose another name"
    case .notParked(let group, let position):
      "consumer group \(group.debugDescription) has no dead letter at position \(position)"
    case .invalid(let problem): problem
    case .stopped(let group, let failure):
      "consumer group \(group.debugDescription) has stopped: \(failure). Mend what is wrong, then resume it"
    case .handlersStuck(let group, let count):
      "consumer group \(group.debugDescription): \(count) handlers have not returned long after their time-out and do not "
        + "heed cancellation; end this process"
    case .scheduleNotFound(let name):
      "there is no schedule \(name.debugDescription): its event has been appended, or it was cancelled, or never made"
    case .scheduleExists(let name):
      "there is another schedule \(name.debugDescription) already: cancel it first, or choose another name"
    }
  }
}

/// Why a group has stopped.
public struct GroupFailure: Sendable, Hashable, Codable, CustomStringConvertible {
  /// Of the event that it has stopped before.
  public var position: Position
  public var stream: String
  /// In its stream, from 1.
  public var version: Int
  public var type: String
  /// Without payloads.
  public var problem: String
  /// Host and process id of the consumer.
  public var consumer: String

  public var description: String { "event \(type), \(stream) version \(version), position \(position): \(problem)" }
}
