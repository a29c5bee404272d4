import EmbeddedPostgreSQL
import EventStore
import Foundation

struct Deposited: Event {
  static let eventType = "account.deposited"  // declared: renaming the Swift type changes nothing in the log
  var cents: Int
}

// A private PostgreSQL in .eventstore/; give the connection string of your own server instead.
let url = try await EmbeddedCluster(directory: ".eventstore").start()
try await Migrator(.init(url)).migrate()
let keyring =
  FileManager.default.fileExists(atPath: ".eventstore/keyring")
  ? try Keyring.open(file: ".eventstore/keyring")
  : try Keyring.create(file: ".eventstore/keyring")
let codec = EventCodec(Deposited.self)

try await PostgreSQLEventLog.withLog(EventLogConfiguration(url, encryption: .sealed(keyring))) { log in
  let account: StreamName = "account-42"

  // Append: two writers that expect the same version cannot both succeed.
  let version = try await log.version(of: account) ?? 0
  try await log.append([Deposited(cents: 1250)], to: account, expecting: .exact(version), codec: codec)

  // Load: fold the stream.
  var balance = 0
  for try await event in log.read(account) {
    if let deposited = try codec.decode(event) as? Deposited { balance += deposited.cents }
  }
  print("balance of \(account): \(balance) cents")

  // Project and consume: follow the log. Keep the position with your result, and go on after it next time.
  var balances: [StreamName: Int] = [:]
  var position = Position.start
  for try await event in log.subscribe(after: position, where: .category("account")) {
    if let deposited = try codec.decode(event) as? Deposited { balances[event.stream, default: 0] += deposited.cents }
    position = event.position
    if balances[account] == balance { break }  // a service goes on for ever
  }
  print("projected up to position \(position): \(balances)")
}
