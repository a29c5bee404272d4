public import EventStore
public import Foundation

// 1. What can happen to an account: an enum, a case for each event. What a case carries is stored as JSON, sealed.

public enum AccountEvent: AggregateEvent, Equatable {
  case opened(owner: String, overdraft: Decimal)
  case deposited(amount: Decimal)
  case withdrawn(amount: Decimal)
  case sent(amount: Decimal, to: String, transfer: UUID)
  case received(amount: Decimal, from: String, transfer: UUID)
  case closed

  // The types under which the log keeps them, for ever. Rename cases as you like; never change these.
  public enum CodingKeys: String, CodingKey, CaseIterable {
    case opened = "account.opened"
    case deposited = "account.deposited"
    case withdrawn = "account.withdrawn"
    case sent = "account.sent"
    case received = "account.received"
    case closed = "account.closed"
  }
}

// 2. What an account is: the state that its events lead to. `apply` only records what happened, and refuses nothing.

public struct Account: Aggregate, Equatable {
  public static let category = "account"

  public private(set) var owner: String?
  public private(set) var balance: Decimal = 0
  public private(set) var overdraft: Decimal = 0
  public private(set) var isClosed = false

  public init() {}

  public mutating func apply(_ event: AccountEvent) {
    switch event {
    case .opened(let owner, let overdraft):
      self.owner = owner
      self.overdraft = overdraft
    case .deposited(let amount), .received(let amount, _, _): balance += amount
    case .withdrawn(let amount), .sent(let amount, _, _): balance -= amount
    case .closed: isClosed = true
    }
  }
}

// 3. What may be done with it: decisions. Each looks at the state and returns events, or throws why not.

public enum AccountError: Error, Equatable {
  case notPositive(Decimal)
  case insufficientFunds(missing: Decimal)
  case notEmpty(Decimal)
  case closed
}

extension Account {
  public static func open(owner: String, overdraft: Decimal = 0) -> [AccountEvent] {
    [.opened(owner: owner, overdraft: overdraft)]
  }

  public func deposit(_ amount: Decimal) throws -> [AccountEvent] {
    try check(amount)
    return [.deposited(amount: amount)]
  }

  public func withdraw(_ amount: Decimal) throws -> [AccountEvent] {
    try checkFunds(amount)
    return [.withdrawn(amount: amount)]
  }

  public func send(_ amount: Decimal, to id: String, transfer: UUID) throws -> [AccountEvent] {
    try checkFunds(amount)
    return [.sent(amount: amount, to: id, transfer: transfer)]
  }

  public func receive(_ amount: Decimal, from id: String, transfer: UUID) throws -> [AccountEvent] {
    try check(amount)
    return [.received(amount: amount, from: id, transfer: transfer)]
  }

  public func close() throws -> [AccountEvent] {
    guard !isClosed else { return [] }
    guard balance == 0 else { throw AccountError.notEmpty(balance) }
    return [.closed]
  }

  private func check(_ amount: Decimal) throws {
    guard !isClosed else { throw AccountError.closed }
    guard amount > 0 else { throw AccountError.notPositive(amount) }
  }

  private func checkFunds(_ amount: Decimal) throws {
    try check(amount)
    let available = balance + overdraft
    guard amount <= available else { throw AccountError.insufficientFunds(missing: amount - available) }
  }
}
