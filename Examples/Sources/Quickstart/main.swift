import EmbeddedPostgreSQL
import EventStore
import Foundation

enum AccountEvent: AggregateEvent {
  case deposited(cents: Int)
  case withdrawn(cents: Int)
  // The stored types: declared, so that renaming a case changes nothing in the log.
  enum CodingKeys: String, CodingKey, CaseIterable {
    case deposited = "account.deposited"
    case withdrawn = "account.withdrawn"
  }
}

struct InsufficientFunds: Error, Equatable {}

struct Account: Aggregate {
  static let category = "account"
  var cents = 0

  mutating func apply(_ event: AccountEvent) {
    switch event {
    case .deposited(let amount): cents += amount
    case .withdrawn(let amount): cents -= amount
    }
  }

  func withdraw(_ amount: Int) throws -> [AccountEvent] {
    guard amount <= cents else { throw InsufficientFunds() }
    return [.withdrawn(cents: amount)]
  }
}

// A private PostgreSQL in .eventstore/; give the connection string of your own server instead.
let url = try await EmbeddedCluster(directory: ".eventstore").start()
try await Migrator(.init(url)).migrateIfNeeded()
let keyring = try Keyring.openOrCreate(file: ".eventstore/keyring")

try await PostgreSQLEventLog.withLog(EventLogConfiguration(url, encryption: .sealed(keyring))) { log in
  let store = AggregateStore(log)

  // Append: what was decided is appended at the version that was loaded; if another writer was first, decided again.
  try await store.update(Account.self, "42", createsIfAbsent: true) { _ in [.deposited(cents: 1250)] }
  try await store.update(Account.self, "42") { try $0.withdraw(250) }

  // Load: as it is, by way of a snapshot; or as it was, at any version or time.
  let account = try await store.load(Account.self, "42")
  let before = try await store.load(Account.self, "42", at: .version(account.version - 1))
  print("\(account.stream): \(account.cents) cents at version \(account.version), before that \(before.cents)")

  // Project and consume: follow the log. Keep the position with your result, and go on after it next time.
  var (total, position) = (0, Position.start)
  for try await event in log.subscribe(after: position, where: .category("account")) {
    if case .deposited(let cents) = try EventCodec().decode(event, as: AccountEvent.self) { total += cents }
    position = event.position
    if event.version == account.version { break }  // a service goes on for ever
  }
  print("deposited up to position \(position): \(total) cents")
}
