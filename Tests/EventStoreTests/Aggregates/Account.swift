import EventStore
import Foundation

enum AccountEvent: AggregateEvent, Equatable {
  case opened(owner: String)
  case deposited(amount: Decimal, note: String?)
  case withdrawn(amount: Decimal)
  case renamed(Name)
  case closed

  struct Name: Codable, Equatable, Sendable {
    var first: String
    var last: String
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case opened = "account.opened"
    case deposited = "account.deposited"
    case withdrawn = "account.withdrawn"
    case renamed = "account.renamed"
    case closed = "account.closed"
  }
}

enum AccountError: Error, Equatable {
  case insufficientFunds(missing: Decimal)
  case closed
}

struct Account: Aggregate, Equatable {
  static let category = "account"
  static let snapshotPolicy = SnapshotPolicy<Account>.every(10)

  var owner: String?
  var balance: Decimal = 0
  var isClosed = false
  var notes: [String: Int] = [:]

  mutating func apply(_ event: AccountEvent) {
    switch event {
    case .opened(let owner): self.owner = owner
    case .deposited(let amount, let note):
      balance += amount
      if let note { notes[note, default: 0] += 1 }
    case .withdrawn(let amount): balance -= amount
    case .renamed(let name): owner = "\(name.first) \(name.last)"
    case .closed: isClosed = true
    }
  }

  func deposit(_ amount: Decimal, note: String? = nil) throws -> [AccountEvent] {
    guard !isClosed else { throw AccountError.closed }
    return [.deposited(amount: amount, note: note)]
  }

  func withdraw(_ amount: Decimal) throws -> [AccountEvent] {
    guard !isClosed else { throw AccountError.closed }
    guard amount <= balance else { throw AccountError.insufficientFunds(missing: amount - balance) }
    return [.withdrawn(amount: amount)]
  }

  func close() -> [AccountEvent] { isClosed ? [] : [.closed] }
}
