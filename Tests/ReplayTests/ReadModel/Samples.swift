import EventStore
import FoundationEssentials

/// The read model of the tests: amounts by account.
enum Samples {
  static let head = """
    -- read model: balance
    -- version: 1
    -- categories: account
    """

  static let table = """
    CREATE TABLE balance (account text PRIMARY KEY, balance numeric NOT NULL, latest text);
    """

  static let handler = """
    -- on: deposited, withdrawn
    INSERT INTO balance AS b (account, balance, latest)
    SELECT stream, sum(CASE type WHEN 'deposited' THEN 1 ELSE -1 END * (data->>'amount')::numeric),
           (array_agg(type ORDER BY version DESC))[1]
      FROM events
     GROUP BY stream
        ON CONFLICT (account) DO UPDATE SET balance = b.balance + excluded.balance, latest = excluded.latest;
    """

  static func balance(streams: String = "independent", handler: String = handler, more: String = "") -> String {
    "\(head)\n-- streams: \(streams)\n\(table)\n\(handler)\n\(more)\n"
  }

  static func deposit(_ amount: String, at seconds: Double? = nil) -> EventData {
    event("deposited", amount, seconds)
  }
  static func withdrawal(_ amount: String, at seconds: Double? = nil) -> EventData {
    event("withdrawn", amount, seconds)
  }

  private static func event(_ type: String, _ amount: String, _ seconds: Double?) -> EventData {
    EventData(
      type: type, payload: .json("{\"amount\":\"\(amount)\"}"),
      occurredAt: seconds.map { Date(timeIntervalSince1970: $0) })
  }
}
