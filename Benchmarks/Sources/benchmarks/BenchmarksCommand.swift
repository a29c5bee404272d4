import ArgumentParser

@main
struct BenchmarksCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "benchmarks", abstract: "Measure the event store beside plain PostgreSQL.",
    subcommands: [MeasureCommand.self, WorkerCommand.self], defaultSubcommand: MeasureCommand.self)
}
