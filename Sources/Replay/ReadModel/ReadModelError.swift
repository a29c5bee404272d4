/// What is wrong with a read model: in its file, or when it was applied. Nothing was changed.
public struct ReadModelError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Which kind of problem it is: for programs.
  public enum Reason: Sendable, Hashable {
    /// The file cannot be understood, or PostgreSQL refuses a statement of it.
    case file
    /// A statement touches something else than the model's own tables and `events`.
    case foreignTable
    /// An event's type has no statement.
    case unhandledType
    /// A statement failed on events.
    case apply
  }

  /// For programs; ``problem`` is for people.
  public let reason: Reason
  /// As it was given to ``ReadModel/init(_:file:)``.
  public let file: String
  /// From 1; `nil` where it is about the whole file.
  public let line: Int?
  /// What is wrong and, where that is known, what to do.
  public let problem: String
  /// What PostgreSQL said, where a statement failed on events.
  package let sqlState: String?

  init(_ reason: Reason = .file, file: String, line: Int?, _ problem: String, sqlState: String? = nil) {
    self.sqlState = sqlState
    self.reason = reason
    self.file = file
    self.line = line
    self.problem = problem
  }

  public var description: String { "\(file)\(line.map { ":\($0)" } ?? ""): \(problem)" }
}
