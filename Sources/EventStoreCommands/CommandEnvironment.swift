/// What the commands know of the world around them. Only the executable reads the environment; it gives it to them.
public struct CommandEnvironment: Sendable {
  /// Environment variables: `EVENTSTORE_*`, `NO_COLOR`, `TERM`.
  public var variables: [String: String]

  public init(variables: [String: String]) { self.variables = variables }

  @TaskLocal static var current = CommandEnvironment(variables: [:])

  /// A variable's value; an empty one counts as not set.
  static func variable(_ name: String) -> String? {
    current.variables[name].flatMap { $0.isEmpty ? nil : $0 }
  }
}
