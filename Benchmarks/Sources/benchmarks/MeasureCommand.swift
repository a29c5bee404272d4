import ArgumentParser
import Dispatch
import FoundationEssentials
import Glibc

struct MeasureCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "measure", abstract: "Run the comparisons (the default).",
    discussion: """
      Ours and the yardstick take turns in short rounds of one run; only the ratios mean something, see README.md.

      Examples:
        benchmarks
        benchmarks --only appends-32,lone --rounds 31
        benchmarks --quick --json
      """)

  @Option(
    help: "A database to measure on: a libpq connection string or URI. Default: EVENTSTORE_URL, else a private server.")
  var url: String?

  @Option(help: "Only these scenarios, separated by commas.")
  var only: String?

  @Option(help: "Rounds a scenario. Default: 15, or 3 with --quick; long scenarios do fewer.")
  var rounds: Int?

  @Option(help: "The command line tool, for the import.")
  var esctl: String?

  @Flag(help: "Short rounds and little data: to see whether all runs, not how fast.")
  var quick = false

  @Flag(help: "List the scenarios and stop.")
  var list = false

  @Flag(help: "Print a JSON object a line instead of a table.")
  var json = false

  func validate() throws {
    if let rounds, !(1...1000).contains(rounds) { throw ValidationError("--rounds \(rounds): expected 1 to 1000") }
    _ = try scenarios()
    if let esctl, access(esctl, X_OK) != 0 { throw ValidationError("--esctl \(esctl): no such program") }
  }

  private func scenarios() throws -> [Scenario] {
    guard let only else { return Scenario.all }
    return try only.split(separator: ",").map { name in
      guard let scenario = Scenario.all.first(where: { $0.name == name }) else {
        let known = Scenario.all.map(\.name).joined(separator: ", ")
        throw ValidationError("--only: there is no scenario \(name); there are \(known)")
      }
      return scenario
    }
  }

  func run() async throws {
    let scenarios = try scenarios()
    if list {
      for scenario in scenarios { Output.line("\(scenario.name): \(scenario.ours) / \(scenario.yardstick)") }
      return
    }
    let effort = Effort(rounds: rounds, isQuick: quick, esctl: esctl)
    let work = Task { try await measure(scenarios, effort) }
    let sources = [SIGINT, SIGTERM].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number)
      // Ends after the current round, so that the private server is stopped and its folder removed.
      source.setEventHandler { work.cancel() }
      source.resume()
      return source
    }
    defer { for source in sources { source.cancel() } }
    do {
      try await work.value
    } catch  where work.isCancelled {
      // Whatever was under way says in its own words that it was cancelled.
      throw ExitCode(130)
    }
  }

  private func measure(_ scenarios: [Scenario], _ effort: Effort) async throws {
    let folder = FileManager.default.temporaryDirectory.path + "/eventstore-benchmarks-\(getpid())"
    try FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let server: Server =
      if let url = url ?? ProcessInfo.processInfo.environment["EVENTSTORE_URL"] {
        .given(url)
      } else {
        try await .start(in: folder)
      }
    do {
      let stage = try Stage(url: server.url, effort: effort, folder: folder)
      do {
        try await measure(scenarios, stage)
      } catch {
        await stage.clear()
        throw error
      }
      await stage.clear()
    } catch {
      await server.stop()
      throw error
    }
    await server.stop()
  }

  private func measure(_ scenarios: [Scenario], _ stage: Stage) async throws {
    let report = Report(isJSON: json)
    report.begin()
    for scenario in scenarios {
      if let obstacle = scenario.obstacle(stage.effort) {
        Output.note("\(scenario.name) is left out: it \(obstacle)")
        continue
      }
      for figure in try await Rounds(scenario: scenario, effort: stage.effort).run(stage) { try report.add(figure) }
    }
  }
}
