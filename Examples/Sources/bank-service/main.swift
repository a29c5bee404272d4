// 6. A service: the log, the store that makes snapshots in the background, the projections, and the work itself, ended
// gracefully by SIGTERM or SIGINT. Here the work is sixteen customers who send money to each other for some seconds.
//
//   bank-service [SECONDS]

import Bank
import EmbeddedPostgreSQL
import EventStore
import Foundation
import Logging
import Projections
import ServiceLifecycle

struct Customers: Service {
  let bank: Bank
  let seconds: Int
  static let accounts = (1...8).map(String.init)

  func run() async throws {
    for id in Self.accounts {
      do {
        try await bank.open(id, owner: "customer \(id)")
        try await bank.deposit(1000, to: id)
      } catch AggregateError.alreadyExists {
        // From an earlier run.
      }
    }
    let before = try await total()
    let transfers = try await withThrowingTaskGroup { group in
      for _ in 0..<16 { group.addTask { try await send() } }
      return try await group.reduce(0, +)
    }
    let after = try await total()
    print(
      "\(transfers) transfers between \(Self.accounts.count) accounts; in all there were \(before), there are \(after)")
  }

  private func send() async throws -> Int {
    let end = ContinuousClock.now + .seconds(seconds)
    var transfers = 0
    while ContinuousClock.now < end, !Task.isShuttingDownGracefully {
      let pair = Self.accounts.shuffled().prefix(2)
      do {
        try await bank.transfer(Decimal(Int.random(in: 1...200)), from: pair[0], to: pair[1])
        transfers += 1
      } catch AccountError.insufficientFunds {
        continue
      }
    }
    return transfers
  }

  private func total() async throws -> Decimal {
    var total: Decimal = 0
    for id in Self.accounts { total += try await bank.balance(of: id) }
    return total
  }
}

let environment = ProcessInfo.processInfo.environment
let url =
  if let given = environment["EVENTSTORE_URL"] { given } else {
    try await EmbeddedCluster(directory: ".eventstore").start()
  }
try await Migrator(.init(url)).migrateIfNeeded()
let keyring = try Keyring.openOrCreate(file: environment["EVENTSTORE_KEYRING"] ?? ".eventstore/keyring")
let log = try await PostgreSQLEventLog.open(EventLogConfiguration(url, encryption: .sealed(keyring)))
let store = AggregateStore(log, Account.self, retries: ConflictRetries(attempts: 100))
let seconds = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 3

try await ServiceGroup(
  configuration: .init(
    services: [
      .init(service: log),
      .init(service: store),
      .init(service: ProjectionRunner(log, [Turnover()])),
      .init(
        service: Customers(bank: Bank(store), seconds: seconds), successTerminationBehavior: .gracefullyShutdownGroup),
    ],
    gracefulShutdownSignals: [.sigterm, .sigint], logger: Logger(label: "bank"))
).run()
