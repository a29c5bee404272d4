import ArgumentParser
import Testing

@testable import EventStoreCommands

@Suite("Help")
struct HelpTests {
  private static func commands(below command: any ParsableCommand.Type) -> [any ParsableCommand.Type] {
    [command] + command.configuration.subcommands.flatMap(commands)
  }

  @Test("every command without others below it has examples; none is broken at 80 columns, as nobody could paste it")
  func examples() throws {
    for command in Self.commands(below: Esctl.self) {
      let lines = Esctl.helpMessage(for: command, columns: 80).split(separator: "\n", omittingEmptySubsequences: false)
      guard let start = lines.firstIndex(where: { $0.hasPrefix("Example") }) else {
        #expect(!command.configuration.subcommands.isEmpty, "\(command._commandName)")
        continue
      }
      let examples = lines[(start + 1)...].prefix { !$0.isEmpty }
      #expect(!examples.isEmpty && examples.allSatisfy { $0.hasPrefix("  ") }, "\(command._commandName): \(examples)")
    }
  }
}
