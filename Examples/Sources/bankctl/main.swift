// 7. The bank's own `esctl`: all its commands, and it knows what an account is, and how to project turnover.
//
//   bankctl replay account-1 --at-version 17
//   bankctl history account-1
//   bankctl snapshots verify --category account
//   bankctl projections run --until-caught-up
//   bankctl projections rebuild turnover --auto

import Bank
import EventStoreCommands
import Foundation

await EventStoreCommandLine.main(
  environment: ProcessInfo.processInfo.environment, aggregates: [Account.self], projections: [Turnover()])
