public import EventStore
public import Projections
internal import Replay

/// What the commands know of the world around them. Only the executable reads the environment; it gives it to them.
public struct CommandEnvironment: Sendable {
  /// Environment variables: `EVENTSTORE_*`, `NO_COLOR`, `TERM`.
  public var variables: [String: String]
  /// The aggregates that the commands know by their category.
  public var aggregates: [any Aggregate.Type]
  /// The projections in code that the commands can run.
  public var projections: [any Projection]
  /// The upcasters of older events.
  public var codec: EventCodec

  /// With nothing but variables it is what `esctl` itself has.
  public init(
    variables: [String: String], aggregates: [any Aggregate.Type] = [], projections: [any Projection] = [],
    codec: EventCodec = EventCodec()
  ) {
    self.variables = variables
    self.aggregates = aggregates
    self.projections = projections
    self.codec = codec
  }

  @TaskLocal static var current = CommandEnvironment(variables: [:])

  /// A variable's value; an empty one counts as not set.
  static func variable(_ name: String) -> String? {
    current.variables[name].flatMap { $0.isEmpty ? nil : $0 }
  }

  /// What tells the states of streams of a category: the declared aggregate, else the latest of every field.
  static func replay(of category: String, in log: PostgreSQLEventLog, usesSnapshots: Bool = true) -> any StreamReplay {
    let (environment, codec) = (current, current.codec)
    guard let aggregate = environment.aggregates.first(where: { $0.category == category }) else {
      return FoldReplay.latestFields(log, codec, usesSnapshots: usesSnapshots)
    }
    return aggregateReplay(aggregate, log, codec, usesSnapshots: usesSnapshots)
  }
}
