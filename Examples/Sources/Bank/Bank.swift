public import EventStore
public import Foundation

// 4. What the bank does for its customers: load, decide, append. The store tries again when another writer was first.

public struct Bank: Sendable {
  private let accounts: AggregateStore

  public init(_ accounts: AggregateStore) { self.accounts = accounts }

  public func open(_ id: String, owner: String, overdraft: Decimal = 0) async throws {
    try await accounts.create(Account.self, id) { _ in Account.open(owner: owner, overdraft: overdraft) }
  }

  @discardableResult
  public func deposit(_ amount: Decimal, to id: String) async throws -> Decimal {
    try await accounts.update(Account.self, id) { try $0.deposit(amount) }.balance
  }

  @discardableResult
  public func withdraw(_ amount: Decimal, from id: String) async throws -> Decimal {
    try await accounts.update(Account.self, id) { try $0.withdraw(amount) }.balance
  }

  /// Both accounts change in one atomic append: money is never under way, and never twice.
  public func transfer(_ amount: Decimal, from source: String, to target: String) async throws {
    let transfer = UUID()
    try await accounts.transact { transaction in
      let from = try await transaction.load(Account.self, source)
      let to = try await transaction.load(Account.self, target)
      let metadata = Metadata(correlationID: transfer.uuidString)
      try transaction.append(
        try from.state.send(amount, to: target, transfer: transfer), to: from, metadata: metadata)
      try transaction.append(
        try to.state.receive(amount, from: source, transfer: transfer), to: to, metadata: metadata)
    }
  }

  public func balance(of id: String, at moment: Moment = .latest) async throws -> Decimal {
    try await accounts.load(Account.self, id, at: moment).balance
  }
}
