// 7. The bank's own `esctl`: all its commands, and it knows what an account is.
//
//   bankctl replay account-1 --at-version 17
//   bankctl history account-1
//   bankctl snapshots verify --category account

import Bank
import EventStoreCommands
import Foundation

await EventStoreCommandLine.main(environment: ProcessInfo.processInfo.environment, aggregates: [Account.self])
