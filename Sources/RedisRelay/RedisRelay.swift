#if Redis
  public import EventStore
  internal import FoundationEssentials
  public import Outbox

  /// Adds each event to a stream of a Redis server, as a CloudEvent. (Package trait `Redis`; needs hiredis.)
  ///
  /// An entry has the fields `id` (the event's, the same each time), `key` (what it is ordered by), `traceparent` where there is one,
  /// and `event`: the CloudEvent in JSON. Events that travel together are added by one `MULTI … EXEC`, all or none. An answer that is
  /// lost makes them come again: a reader tells by `id`.
  ///
  /// What Redis confirms survives its crash with `appendonly yes` and `appendfsync always` only; ``Options/replicas`` waits for
  /// replicas, too.
  ///
  /// While the server is away, or says that it can take nothing now (no memory, loading, a replica), events wait and no attempt is
  /// counted. Another error (no permission, no stream) stops the group: it is no event's fault.
  public struct RedisRelay: Relay {
    /// How much is sent at a time, how much is kept, and what is waited for.
    public struct Options: Sendable {
      /// Events in one transaction, at most: 2 or more. What is above 8 MiB together goes in several.
      public var batch = 100
      /// Trim streams to about so many entries: `MAXLEN ~`. `nil`: nothing is trimmed.
      public var maximumLength: Int?
      /// Wait until so many replicas have it: `WAIT`. 0: for none.
      public var replicas = 0
      /// How long the server may take to answer, in seconds: 0.1 or more.
      public var timeout = 5.0

      public init() {}
    }

    private let connection: RedisConnection
    private let source: String
    private let options: Options
    private let stream: @Sendable (Delivery) -> String

    /// - Parameters:
    ///   - source: Of the CloudEvents: which store.
    ///   - stream: The Redis stream that an event goes to; all events of a key to the same one. Default: `events:` and the category.
    public init(
      _ server: RedisServer, source: String, options: Options = Options(),
      stream: @escaping @Sendable (Delivery) -> String = { "events:\($0.event.stream.category)" }
    ) {
      var options = options
      options.timeout = max(0.1, options.timeout)
      connection = RedisConnection(server, timeout: options.timeout)
      self.source = source
      self.options = options
      self.stream = stream
    }

    public var mostAtOnce: Int { max(2, options.batch) }
    public var mostPerKey: Int { mostAtOnce }

    public func forward(_ deliveries: [Delivery]) async throws -> [Disposition] {
      var commands: [[String]] = []
      var bytes = 0
      // What is before it in the batch is sent; what is behind it comes again.
      var refused: [Disposition] = []
      for delivery in deliveries {
        do throws(DeliveryFailure) {
          let command = try command(delivery)
          bytes += command.reduce(0) { $0 + $1.utf8.count }
          // The rest comes again at once.
          if !commands.isEmpty, bytes > Self.mostBytes { break }
          commands.append(command)
        } catch {
          refused = [error.disposition]
          break
        }
      }
      guard !commands.isEmpty else { return refused }
      do {
        // Before anything is added as well: what no replica has taken would be added again and again.
        try await waitForReplicas()
        switch try await connection.transaction(commands) {
        case .success(let added):
          try await waitForReplicas()
          return added.map { reply in
            if case .error(let answer) = reply { Self.disposition(answer) } else { .ack }
          } + refused
        case .failure(let refusal): return commands.map { _ in Self.disposition(refusal.answer) } + refused
        }
      } catch let error as RedisUnavailable {
        throw DeliveryFailure(.throttle(after: 1, reason: "Redis: \(error.problem)"))
      }
    }

    private static let mostBytes = 8 << 20

    /// Until they have everything that was added by this connection.
    private func waitForReplicas() async throws {
      guard options.replicas > 0 else { return }
      let milliseconds = max(1, Int(options.timeout * 900))
      let reply = try await connection.run([["WAIT", "\(options.replicas)", "\(milliseconds)"]])[0]
      switch reply {
      case .integer(let count) where count >= options.replicas: return
      case .integer(let count):
        throw RedisUnavailable(problem: "\(count) of \(options.replicas) replicas have it")
      case .error(let answer): throw DeliveryFailure(Self.disposition(answer))
      default: throw RedisUnavailable(problem: "it does not say how many replicas there are")
      }
    }

    private func command(_ delivery: Delivery) throws(DeliveryFailure) -> [String] {
      let event = try CloudEvent(relaying: delivery, source: source)
      var command = ["XADD", stream(delivery)]
      if let length = options.maximumLength { command += ["MAXLEN", "~", "\(length)"] }
      command += ["*", "id", event.id, "key", delivery.key]
      if let traceparent = delivery.event.metadata.traceparent { command += ["traceparent", traceparent] }
      return command + ["event", String(decoding: event.json, as: UTF8.self)]
    }

    /// What the server says of itself and not of the event, by the first word of its answer.
    private static let passing: Set<String> = [
      "OOM", "LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF",
    ]

    private static func disposition(_ answer: String) -> Disposition {
      let kind = answer.prefix { $0 != " " }
      return passing.contains(String(kind))
        ? .throttle(after: 1, reason: "Redis: \(answer)") : .stop(reason: "Redis refuses it: \(answer)")
    }
  }
#endif
