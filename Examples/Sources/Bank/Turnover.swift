public import EventStore
import Foundation
public import PostgreSQL
public import Projections

// 8. A read model in code: what came in and went out on each day. Each event is applied once, in a transaction that also
// saves how far the projection is. (What a `.sql` file can say is better said there: see balance.sql.)

public struct Turnover: Projection {
  public let name = "turnover"
  public let version = 1
  public let filter = LogFilter.category("account")

  public init() {}

  public func createTables(in transaction: borrowing Transaction) async throws {
    try await transaction.execute(
      Statement("CREATE TABLE turnover (day text PRIMARY KEY, incoming numeric NOT NULL, outgoing numeric NOT NULL)"))
  }

  private static let add = Statement(
    """
    INSERT INTO turnover AS t VALUES ($1, $2::text::numeric, $3::text::numeric)
    ON CONFLICT (day) DO UPDATE SET incoming = t.incoming + excluded.incoming, outgoing = t.outgoing + excluded.outgoing
    """)

  public func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws {
    var days: [String: (incoming: Decimal, outgoing: Decimal)] = [:]
    for event in batch.events {
      let day = String(event.time.formatted(.iso8601).prefix(10))
      switch try batch.decode(event, as: AccountEvent.self) {
      case .deposited(let amount): days[day, default: (0, 0)].incoming += amount
      case .withdrawn(let amount): days[day, default: (0, 0)].outgoing += amount
      case .opened, .sent, .received, .closed: continue
      }
    }
    for (day, sums) in days {
      try await transaction.execute(Self.add, Parameters(day, "\(sums.incoming)", "\(sums.outgoing)"))
    }
  }
}
