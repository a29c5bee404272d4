import EventStoreCommands
import Foundation

await EventStoreCommandLine.main(environment: ProcessInfo.processInfo.environment)
