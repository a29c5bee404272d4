/// Clients in plain libpq: a connection and a thread each, and one prepared statement, called over and over with
/// binary parameters.
struct PreparedClients: Contestant {
  struct Call: Sendable {
    let sql: String
    let parameters: Int
    /// Rows that each call writes or reads: anything else is an error.
    let events: Int
    /// Sets the parameters of a client's next call. Both count from 0.
    let fill: @Sendable (BinaryParameters, _ client: Int, _ call: Int) -> Void
  }

  /// Safe to send: only one thread at a time uses it, the one of the current round, and rounds follow each other.
  private final class Client: @unchecked Sendable {
    private let number: Int
    private let call: Call
    private let connection: LibpqConnection
    private let parameters: BinaryParameters
    private var calls = 0

    init(_ number: Int, _ url: String, _ call: Call) throws {
      self.number = number
      self.call = call
      connection = try LibpqConnection(url)
      parameters = BinaryParameters(count: call.parameters)
      try connection.prepare("call", call.sql)
    }

    func run(until end: UInt64) throws -> Tally {
      var tally = Tally()
      var now = Monotonic.now
      while now < end {
        call.fill(parameters, number, calls)
        let sent = Monotonic.now
        let rows = try connection.execute("call", parameters)
        now = Monotonic.now
        guard rows == call.events else { throw Problem("a yardstick's call did \(rows) rows, not \(call.events)") }
        tally.latencies.append(now - sent)
        tally.events += rows
        calls += 1
      }
      return tally
    }
  }

  private let clients: [Client]

  init(_ count: Int, _ url: String, _ call: Call) throws {
    clients = try (0..<count).map { try Client($0, url, call) }
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(clients.count, for: duration) { [clients] number, end in
      try await Thread.run { try clients[number].run(until: end) }
    }
  }
}
