internal import ArgumentParser
public import EventStore
internal import Glibc
public import Projections

/// `esctl` as a library: a service has an `esctl` of its own that knows its aggregates.
///
/// ```swift
/// await EventStoreCommandLine.main(
///   environment: ProcessInfo.processInfo.environment, aggregates: [Account.self])
/// ```
public enum EventStoreCommandLine {
  /// Parses the arguments, runs the command, exits with its documented code.
  ///
  /// - Parameters:
  ///   - arguments: Without the name of the program.
  ///   - environment: Variables: `EVENTSTORE_*`, `NO_COLOR`, `TERM`.
  ///   - aggregates: Shown by `replay`, `history` and `snapshots` as the states that they are.
  ///   - projections: Those in code: run, rebuilt and compared as files are.
  ///   - codec: The upcasters of older events.
  public static func main(
    arguments: [String] = Array(Swift.CommandLine.arguments.dropFirst()), environment: [String: String],
    aggregates: [any Aggregate.Type] = [], projections: [any Projection] = [], codec: EventCodec = EventCodec()
  ) async -> Never {
    let environment = CommandEnvironment(
      variables: environment, aggregates: aggregates, projections: projections, codec: codec)
    occupyStandardDescriptors()
    // Swift has put another character where bytes are no UTF-8: two streams would become one, and data would change.
    for index in 1..<max(1, Int(Swift.CommandLine.argc)) {
      guard let argument = Swift.CommandLine.unsafeArgv[index], String(validatingCString: argument) == nil else {
        continue
      }
      CommandFailure(.usage, "usage", "argument \(index) is not valid UTF-8").complain(
        json: arguments.contains("--json"))
      exit(ExitStatus.usage.rawValue)
    }
    exit(await run(arguments: arguments, environment: environment))
  }

  /// Where one of the three is closed, the next file that is opened, or a connection, would be taken for it. They are opened
  /// the wrong way round, so that using them fails.
  private static func occupyStandardDescriptors() {
    for (descriptor, mode) in [(STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY)]
    where fcntl(descriptor, F_GETFD) == -1 {
      _ = open("/dev/null", mode)
    }
  }

  /// As ``main(arguments:environment:aggregates:projections:codec:)``, but returns the exit code.
  public static func run(arguments: [String], environment: CommandEnvironment) async -> Int32 {
    let json = arguments.prefix { $0 != "--" }.contains("--json")
    // Whoever has read enough, as `head` does, is no reason to leave things half done. (What we start does not inherit this.)
    signal(SIGPIPE, SIG_IGN)
    return await CommandEnvironment.$current.withValue(environment) {
      do {
        var command = try Esctl.parseAsRoot(arguments)
        return await run(&command, json: json)
      } catch {
        return answer(error, json: json)
      }
    }
  }

  /// Help and the version are printed as asked for; a wrong argument is said with the usage.
  private static func answer(_ error: any Error, json: Bool) -> Int32 {
    let code = Esctl.exitCode(for: error)
    if code.isSuccess {
      print(Esctl.fullMessage(for: error))
    } else if json {
      CommandFailure(.usage, "usage", Esctl.message(for: error)).complain(json: true)
    } else {
      StandardOutput.complain(Esctl.fullMessage(for: error))
    }
    // Whatever a command's validation throws.
    return code.isSuccess ? code.rawValue : ExitStatus.usage.rawValue
  }

  private static func run(_ command: inout any ParsableCommand, json: Bool) async -> Int32 {
    do {
      if let asynchronous = command as? any AsyncParsableCommand {
        try await Interruption.cancelling(asynchronous)
      } else {
        try command.run()
      }
      try StandardOutput.checkArrival()
      return ExitStatus.done.rawValue
    } catch let error as ExitCode {
      return error.rawValue
    } catch let error where Esctl.exitCode(for: error) != .failure {
      // The parser's own: a request for help that it runs as a command, an argument that does not fit.
      return answer(error, json: json)
    } catch {
      let failure = CommandFailure(error)
      failure.complain(json: json)
      return failure.status.rawValue
    }
  }
}

/// The command of the commands.
struct Esctl: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "esctl",
    abstract: "An event store on PostgreSQL: append, read, follow, operate.",
    discussion: """
      Without EVENTSTORE_URL the commands use a private PostgreSQL in .eventstore/, which they start by themselves.

      Exit codes: 0 done, 1 failed, 3 version conflict, 4 not found, 5 database unavailable, 6 key or decryption, \
      7 different, 8 not in time, 64 usage, 65 bad input.

      Environment: EVENTSTORE_URL, EVENTSTORE_SCHEMA, EVENTSTORE_DIRECTORY, EVENTSTORE_KEYRING, \
      EVENTSTORE_MASTER_KEY, EVENTSTORE_MASTER_KEY_COMMAND, EVENTSTORE_PLAINTEXT_CATEGORIES, \
      EVENTSTORE_PREPARED_STATEMENTS.

      Examples:
        esctl demo
        esctl append account-42 --type account.opened --data '{"owner":"Ada"}'
        esctl read account-42 --json
        esctl help import
      """,
    version: "esctl \(Version.number)",
    subcommands: [
      Up.self, Down.self, Status.self, Migrate.self, Append.self, Import.self, Export.self, Read.self, Log.self,
      Replay.self, History.self, Snapshots.self, Projections.self, OutboxCommand.self, Streams.self, Stream.self,
      Keys.self, Bench.self,
      Doctor.self,
      Demo.self, Version.self,
    ])
}
