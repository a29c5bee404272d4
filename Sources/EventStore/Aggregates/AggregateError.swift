public import FoundationEssentials

/// Why an aggregate could not be loaded or changed. Errors of your own decisions come as you threw them.
public enum AggregateError: Error, Sendable {
  /// The stream has no events.
  case notFound(StreamName)
  /// It was to be created, and has events already.
  case alreadyExists(StreamName, version: Int)
  /// The stream is not that long.
  case versionNotReached(StreamName, asked: Int, last: Int)
  /// The stream's first event happened later.
  case notYet(StreamName, asked: Date, first: Date)
  /// An event is no event of this aggregate, or its payload cannot be opened or decoded.
  case event(StreamName, version: Int, CodecError)
  /// An event that was there is not there any more, though later ones are: somebody removed its row, or an index is damaged.
  /// What the aggregate is cannot be told without it.
  case missing(StreamName, version: Int)
  /// The id, or the category, makes no stream name.
  case invalidName(InvalidName)
}

extension AggregateError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .notFound(let stream): "there is no stream \(stream)"
    case .alreadyExists(let stream, let version): "stream \(stream) exists already, at version \(version)"
    case .versionNotReached(let stream, let asked, let last):
      "stream \(stream) has \(last) \(last == 1 ? "event" : "events"): there is no version \(asked)"
    case .notYet(let stream, let asked, let first):
      "stream \(stream) has no event by \(Self.text(asked)): its first one happened at \(Self.text(first))"
    case .event(let stream, let version, let error): "stream \(stream), version \(version): \(error)"
    case .missing(let stream, let version):
      "version \(version) of stream \(stream) is missing, and later ones are there: its row was removed, or an index of the "
        + "table of events is damaged; REINDEX it, or restore the row from a backup"
    case .invalidName(let error): error.description
    }
  }

  private static func text(_ time: Date) -> String {
    time.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }
}
