import Bank
import EventStore
import EventStoreTesting
import Foundation
import Testing

// 5. Its tests: what had happened, what was asked, what came of it. No database; the last one runs whole use cases on a
// log in memory that behaves as the real one.

struct AccountTests {
  @Test func withdrawalsKeepToTheOverdraft() throws {
    try Given<Account>(.opened(owner: "Ada", overdraft: 50), .deposited(amount: 100))
      .when { try $0.withdraw(150) }
      .then(.withdrawn(amount: 150))
    try Given<Account>(.opened(owner: "Ada", overdraft: 50), .deposited(amount: 100))
      .when { try $0.withdraw(151) }
      .then(throws: AccountError.insufficientFunds(missing: 1))
  }

  @Test func onlyAnEmptyAccountCloses() throws {
    try Given<Account>(.opened(owner: "Ada", overdraft: 0), .deposited(amount: 1))
      .when { try $0.close() }
      .then(throws: AccountError.notEmpty(1))
    try Given<Account>(.opened(owner: "Ada", overdraft: 0)).when { try $0.close() }.then(.closed)
    try Given<Account>(.opened(owner: "Ada", overdraft: 0), .closed).when { try $0.close() }.thenNothing()
    try Given<Account>(.closed).when { try $0.deposit(1) }.then(throws: AccountError.closed)
  }

  @Test func amountsArePositive() throws {
    try Given<Account>().when { try $0.deposit(0) }.then(throws: AccountError.notPositive(0))
  }

  @Test func transfersMoveMoneyOnce() async throws {
    let bank = Bank(AggregateStore(InMemoryEventLog(), retries: ConflictRetries(attempts: 1000)))
    for id in ["1", "2", "3"] {
      try await bank.open(id, owner: id)
      try await bank.deposit(100, to: id)
    }
    try await withThrowingTaskGroup { group in
      for n in 0..<60 {
        group.addTask { try await bank.transfer(1, from: "\(n % 3 + 1)", to: "\((n + 1) % 3 + 1)") }
      }
      try await group.waitForAll()
    }
    for id in ["1", "2", "3"] { #expect(try await bank.balance(of: id) == 100) }
    await #expect(throws: AccountError.insufficientFunds(missing: 1)) {
      try await bank.transfer(101, from: "1", to: "2")
    }
    #expect(try await bank.balance(of: "1", at: .version(2)) == 100)
  }
}
