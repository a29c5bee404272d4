public import EventStore
public import FoundationEssentials
internal import PostgreSQL

/// One building of a projection: its tables, and how far they are.
public struct ProjectionBuild: Sendable, Hashable {
  /// What a build is for. A projection has at most one build in each role.
  public enum Role: String, Sendable, Hashable {
    /// Behind the views that readers use.
    case live
    /// Built beside the live one, or as the first.
    case new
    /// Was live; kept up to date for a way back.
    case previous
  }

  /// Where the projection is written down.
  public enum Kind: String, Sendable, Hashable {
    /// A file, which everyone can run.
    case sql
    /// In a service's code.
    case swift
    /// In a service's code, and it writes elsewhere.
    case external
  }

  /// What becomes of a build at this moment.
  public enum State: String, Sendable, Hashable {
    /// Reads history, and has never been at the end of the log.
    case building
    /// Follows the log.
    case running
    /// Is applied in the transactions of the appends.
    case inline
    /// Nobody runs it.
    case idle
    /// Held where it is by an operator, until it is resumed.
    case paused
    /// At an event that it could not apply.
    case stopped
  }

  /// A number of its own.
  public let number: Int
  /// Of the projection: all its builds have it.
  public let name: String
  /// Declared by its author.
  public let version: Int
  /// When this was read: a switch changes it.
  public let role: Role
  /// A file can be run by any runner, code only by a program that has it.
  public let kind: Kind
  /// The file, or the Swift type.
  public let origin: String
  /// The events that it is told of.
  public let filter: LogFilter
  /// To be applied in the appends' own transactions, once it is live.
  public let isInline: Bool
  /// Applied there now; then ``position`` rests.
  public let isEngaged: Bool
  /// Of a new build: it goes live by itself, once it has caught up.
  public let goesLive: Bool
  /// Its code notifies and calls others although it is not live: asked for with the rebuild. That of the live build
  /// always does.
  public let sideEffects: Bool
  let isIndexed: Bool
  /// When it first reached the end of the log, by the server's clock; `nil`: it has not yet.
  public let caughtUpAt: Date?
  /// By the server's clock; `nil`: it is not paused.
  public let pausedAt: Date?
  /// Why it has stopped; `nil`: it has not.
  public let failure: ProjectionFailure?
  /// When it was written down, by the server's clock. Its tables are made by whoever runs it first.
  public let createdAt: Date
  /// By the server's clock; `nil`: it is not live.
  public let liveSince: Date?
  /// Everything up to here is applied.
  public let position: Position
  /// How many events it has been told of.
  public let applied: Int
  /// Host and process id of who runs it; `nil`: nobody.
  public let process: String?
  /// Events a second, lately; 0 where nobody runs it.
  public let rate: Int

  /// What comes first holds: stopped, paused, inline, idle; else building or running.
  public var state: State {
    if failure != nil { return .stopped }
    if pausedAt != nil { return .paused }
    if isEngaged { return .inline }
    if process == nil { return .idle }
    return caughtUpAt == nil ? .building : .running
  }

  /// Whether its code notifies and calls others.
  var hasSideEffects: Bool { role == .live || sideEffects }

  /// The PostgreSQL schema of its tables.
  public func tableSchema(of store: SchemaName) -> String { "\(store.name)_\(name)_\(number)" }

  init(_ rows: Rows, _ row: Int) throws(PostgreSQLError) {
    func date(_ column: Int) -> Date? { rows.isNull(row, column) ? nil : rows.date(row, column) }
    number = Int(rows.int32(row, 0))
    name = rows.text(row, 1)
    version = Int(rows.int32(row, 2))
    guard let role = Role(rawValue: rows.text(row, 3)), let kind = Kind(rawValue: rows.text(row, 4)) else {
      throw PostgreSQLError(.unexpectedResult, "build \(number) has a role or kind that this binary does not know")
    }
    self.role = role
    self.kind = kind
    origin = rows.text(row, 5)
    filter = LogFilter(categories: rows.textArray(row, 6), types: rows.textArray(row, 7))
    isInline = rows.bool(row, 8)
    isEngaged = rows.bool(row, 9)
    goesLive = rows.bool(row, 10)
    sideEffects = rows.bool(row, 11)
    isIndexed = rows.bool(row, 12)
    caughtUpAt = date(13)
    pausedAt = date(14)
    failure = rows.isNull(row, 15) ? nil : ProjectionFailure(json: rows.text(row, 15))
    createdAt = rows.date(row, 16)
    liveSince = date(17)
    position = Position(rows.int64(row, 18))
    applied = Int(rows.int64(row, 19))
    let isOwned = rows.bool(row, 22)
    process = isOwned && !rows.isNull(row, 20) ? rows.text(row, 20) : nil
    rate = isOwned ? Int(rows.int64(row, 21)) : 0
  }
}

/// Why a projection has stopped.
public struct ProjectionFailure: Error, Sendable, Hashable, Codable, CustomStringConvertible {
  /// The event that could not be applied; `nil`: it is not about an event.
  public var position: Position?
  /// Of the event, as are the next two; `nil` where ``position`` is.
  public var stream: String?
  /// In its stream, from 1.
  public var version: Int?
  /// As it is stored.
  public var type: String?
  /// Without payloads.
  public var problem: String
  /// When it stopped, by the clock of the process that ran it.
  public var at: Date

  public var description: String {
    guard let stream, let version, let type, let position else { return problem }
    return "event \(type), \(stream) version \(version), position \(position): \(problem)"
  }
}
