import Bank
import EventStoreTesting
import Testing

// 9. Its test, by PostgreSQL itself: all events at once, and one by one, must lead to these rows.

struct TurnoverTests {
  @Test func daysAddUp() async throws {
    try await GivenEvents(
      .event("account-1", AccountEvent.opened(owner: "Ada", overdraft: 0)),
      .event("account-1", AccountEvent.deposited(amount: 12.5)), .event("account-2", AccountEvent.deposited(amount: 7)),
      .event("account-1", AccountEvent.withdrawn(amount: 2))
    )
    .when(Turnover())
    .then("turnover", #"{"day":"1970-01-01","incoming":19.5,"outgoing":2}"#)
  }
}
