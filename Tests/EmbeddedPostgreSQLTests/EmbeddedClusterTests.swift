import FoundationEssentials
import Glibc
import SystemPackage
import Testing

@testable import EmbeddedPostgreSQL

@Suite("A private cluster", .timeLimit(.minutes(15)))
struct EmbeddedClusterTests {
  @Test("is made on first use, durable, closed to the network, and keeps its data")
  func lifeCycle() async throws {
    let cluster = EmbeddedCluster(directory: ClusterFixture.newDirectory())
    try await ClusterFixture.cleaningUp(cluster) {
      #expect(await cluster.status() == .absent)
      let connection = try await cluster.start()
      guard case .running(let pid) = await cluster.status() else {
        Issue.record("the server does not run")
        return
      }
      let facts = try await ClusterFixture.query(
        connection,
        """
        select concat_ws(' ', current_user, current_database(), current_setting('server_encoding'),
          current_setting('fsync'), current_setting('full_page_writes'),
          current_setting('synchronous_commit'), current_setting('data_checksums'),
          'listens:' || current_setting('listen_addresses'))
        """)
      #expect(facts == "eventstore eventstore UTF8 on on on on listens:")
      _ = try await ClusterFixture.query(connection, "create table kept as select 42 as answer")

      #expect(try await cluster.start() == connection)
      #expect(await cluster.status() == .running(pid: pid))

      try await cluster.stop()
      #expect(await cluster.status() == .stopped)
      #expect(cluster.connectionString() == nil)
      try await cluster.stop()

      #expect(try await ClusterFixture.query(cluster.start(), "select answer from kept") == "42")
      try await cluster.destroy()
      #expect(await cluster.status() == .absent)
      #expect(!FileManager.default.fileExists(atPath: cluster.directory.string))
    }
  }

  @Test("has one server, however many start it at once")
  func concurrentStarts() async throws {
    let cluster = EmbeddedCluster(
      directory: ClusterFixture.newDirectory(), settings: ["fsync": "off", "shared_buffers": "16MB"])
    try await ClusterFixture.cleaningUp(cluster) {
      let servers = try await withThrowingTaskGroup(of: String.self) { group in
        for _ in 0..<6 {
          group.addTask {
            try await ClusterFixture.query(cluster.start(), "select pg_postmaster_start_time()")
          }
        }
        return try await group.reduce(into: Set()) { $0.insert($1) }
      }
      #expect(servers.count == 1)
    }
  }

  @Test("one that is about to end is waited for by who starts it; one that does not end in time is ended, if so wanted")
  func slowStop() async throws {
    try await ClusterFixture.withCluster { cluster in
      func hold(_ connection: String, seconds: Int) async throws -> Task<Bool, Never> {
        let holding = Task { (try? await ClusterFixture.query(connection, "select pg_sleep(\(seconds))")) != nil }
        let count = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"
        while try await ClusterFixture.query(connection, count) != "1" {}
        return holding
      }
      let first = try await cluster.start()
      let short = try await hold(first, seconds: 1)
      await #expect(throws: EmbeddedClusterError.self) {
        try await cluster.stop(mode: .smart, timeout: .milliseconds(50))
      }
      let second = try await cluster.start()
      #expect(await short.value)

      let long = try await hold(second, seconds: 600)
      try await cluster.stop(mode: .smart, timeout: .milliseconds(50)) {}
      #expect(await cluster.status() == .stopped)
      #expect(await !long.value)
    }
  }

  @Test("comes back after kill -9, with what was committed")
  func killed() async throws {
    try await ClusterFixture.withCluster(settings: ["fsync": "on"]) { cluster in
      let connection = try await cluster.start()
      _ = try await ClusterFixture.query(connection, "create table kept as select 42 as answer")
      let server = try #require(PostmasterFile(in: cluster.files.data))
      #expect(kill(server.pid, SIGKILL) == 0)
      // The signal takes a moment. The server's children may live on a little, and so may what is left of
      // itself.
      while RunningProcess(pid: server.pid) != nil { try await Task.sleep(for: .milliseconds(1)) }
      #expect(try await ClusterFixture.query(cluster.start(), "select answer from kept") == "42")
    }
  }

  @Test("starts although another process has the number of the killed server")
  func reusedProcessIdentifier() async throws {
    try await ClusterFixture.withCluster { cluster in
      try await cluster.start()
      try await cluster.stop()
      let stale =
        "\(getpid())\n\(cluster.files.data)\n1700000000\n5432\n\(cluster.directory)/socket\n\n1 2\nready\n"
      let account = try await cluster.account()
      try cluster.files.write(stale, to: cluster.files.data.appending("postmaster.pid"), for: account)
      try cluster.files.write(
        stale, to: cluster.directory.appending("socket/.s.PGSQL.5432.lock"), for: account)
      #expect(await cluster.status() == .stopped)
      #expect(try await ClusterFixture.query(cluster.start(), "select 1") == "1")
    }
  }

  @Test("another container's server is used, but neither stopped nor removed, and no second one is started")
  func otherContainer() async throws {
    try await ClusterFixture.withCluster { cluster in
      let connection = try await cluster.start()
      let file = cluster.files.data.appending("postmaster.pid")
      let own = try String(contentsOfFile: file.string, encoding: .utf8)
      let account = try await cluster.account()
      let server = try #require(PostmasterFile(in: cluster.files.data))
      // As where process ids are others', and where the directory has another name.
      for (pid, directory) in [(getpid(), cluster.directory.string), (Int32.max, "/elsewhere")] {
        let foreign = own.replacing("\(server.pid)\n", with: "\(pid)\n").replacing(
          cluster.directory.string, with: directory)
        try cluster.files.write(foreign, to: file, for: account)
        #expect(await cluster.status() == .running(pid: pid))
        #expect(try await cluster.start() == connection)
        let error = EmbeddedClusterError.runsElsewhere(pid: pid, data: cluster.files.data)
        await #expect(throws: error) { try await cluster.stop() }
        await #expect(throws: error) { try await cluster.destroy() }
        #expect(try await ClusterFixture.query(connection, "select 1") == "1")
      }
      try cluster.files.write(own, to: file, for: account)
    }
  }

  @Test("runs in a session of its own, so that Ctrl-C in a terminal does not reach it")
  func ownSession() async throws {
    try await ClusterFixture.withCluster { cluster in
      try await cluster.start()
      let server = try #require(PostmasterFile(in: cluster.files.data))
      #expect(getsid(server.pid) != getsid(0))
      #expect(getpgid(server.pid) != getpgrp())
    }
  }

  @Test(
    "is reached wherever it lives",
    arguments: [
      String(repeating: "long/", count: 25), "with space", "comma,quote'backslash\\", "Straße", "percent%20",
    ])
  func unusualPaths(name: String) async throws {
    let directory = ClusterFixture.newDirectory().appending(name)
    try await ClusterFixture.withCluster(at: directory) { cluster in
      let connection = try await cluster.start()
      #expect(try await ClusterFixture.query(connection, "select 1") == "1")
      #expect(try await cluster.start() == connection)
    }
    #expect(!FileManager.default.fileExists(atPath: SocketDirectory(for: directory).path.string))
  }

  @Test("does not use a socket directory in /tmp that somebody else prepared")
  func foreignSocketDirectory() async throws {
    let directory = ClusterFixture.newDirectory().appending(String(repeating: "long/", count: 25))
    try await ClusterFixture.withCluster(at: directory) { cluster in
      let socket = SocketDirectory(for: cluster.directory).path
      try FileManager.default.createSymbolicLink(atPath: socket.string, withDestinationPath: "/tmp")
      defer { unlink(socket.string) }
      await #expect(throws: EmbeddedClusterError.unsafeSocketDirectory(socket)) { try await cluster.start() }
    }
  }

  @Test("stops in every mode", arguments: EmbeddedCluster.StopMode.allCases)
  func stops(mode: EmbeddedCluster.StopMode) async throws {
    try await ClusterFixture.withCluster { cluster in
      try await cluster.start()
      try await cluster.stop(mode: mode)
      #expect(await cluster.status() == .stopped)
      #expect(try await ClusterFixture.query(cluster.start(), "select 1") == "1")
    }
  }

  @Test("takes settings, and takes back those that are gone")
  func settings() async throws {
    let show = "select current_setting('work_mem') || current_setting('application_name')"
    try await ClusterFixture.withCluster(
      settings: ["work_mem": "12MB", "application_name": #"it's a \ "name""#]
    ) { cluster in
      #expect(
        try await ClusterFixture.query(cluster.start() + " application_name=''", show).hasPrefix("12MB"))
      try await cluster.stop()
      let plain = EmbeddedCluster(directory: cluster.directory)
      #expect(try await ClusterFixture.query(plain.start(), "show work_mem") == "4MB")
    }
  }

  @Test(
    "refuses settings that are not its caller's to make, before it makes anything",
    arguments: ["port", "LISTEN_ADDRESSES", "unix_socket_directories", "", "a b", "fsync = off\nx"])
  func refusedSettings(name: String) async throws {
    let cluster = EmbeddedCluster(directory: ClusterFixture.newDirectory(), settings: [name: "1"])
    try await ClusterFixture.cleaningUp(cluster) {
      await #expect(throws: EmbeddedClusterError.invalidSetting(name: name)) { try await cluster.start() }
      #expect(await cluster.status() == .absent)
    }
  }

  @Test("says what the server said when it does not start")
  func brokenSetting() async throws {
    try await ClusterFixture.withCluster(settings: ["shared_buffers": "plenty"]) { cluster in
      let error = await #expect(throws: EmbeddedClusterError.self) { try await cluster.start() }
      #expect(error?.description.contains("shared_buffers") == true)
      #expect(await cluster.status() == .stopped)
    }
  }

  @Test("a copy of its directory is not it")
  func copiedWhileItRuns() async throws {
    try await ClusterFixture.withCluster { cluster in
      let connection = try await cluster.start()
      let copy = EmbeddedCluster(directory: ClusterFixture.newDirectory())
      _ = try await ServerCommand("/bin/mkdir", ["-p", copy.directory.removingLastComponent().string]).output()
      _ = try await ServerCommand("/bin/cp", ["-a", cluster.directory.string, copy.directory.string]).output()
      #expect(copy.connectionString() == nil)
      #expect(await copy.status() == .stopped)
      try await copy.stop()
      #expect(cluster.connectionString() == connection)
      #expect(try await ClusterFixture.query(connection, "select 1") == "1")
    }
  }

  @Test("is not made where its path would break PostgreSQL's files")
  func lineBreak() async throws {
    let directory = ClusterFixture.newDirectory().appending("a\nb")
    let cluster = EmbeddedCluster(directory: directory)
    await #expect(throws: EmbeddedClusterError.unsuitablePath(directory)) { try await cluster.start() }
    #expect(!FileManager.default.fileExists(atPath: directory.string))
  }

  @Test("does not touch a directory that is no cluster, nor strangers' files beside one")
  func strangersFiles() async throws {
    let files = ClusterFiles(ClusterFixture.newDirectory())
    let cluster = EmbeddedCluster(directory: files.directory)
    try files.makePrivateDirectory(files.directory)
    try files.makePrivateDirectory(files.data)
    await #expect(throws: EmbeddedClusterError.notACluster(data: files.data)) { try await cluster.start() }
    try FileManager.default.removeItem(atPath: files.data.string)

    let mine = files.directory.appending("keyring.json")
    try files.write("mine", to: mine, for: .current)
    try await cluster.createIfAbsent()
    #expect(await cluster.status() == .stopped)
    try await cluster.destroy()
    #expect(try FileManager.default.contentsOfDirectory(atPath: files.directory.string) == ["keyring.json"])
  }

  @Test("forgets what an interrupted run left")
  func leftovers() async throws {
    let cluster = EmbeddedCluster(directory: ClusterFixture.newDirectory(), settings: ["fsync": "off"])
    let leftover = cluster.files.unfinished()
    try cluster.files.makePrivateDirectory(cluster.directory)
    try cluster.files.makePrivateDirectory(leftover)
    try await ClusterFixture.cleaningUp(cluster) {
      #expect(await cluster.status() == .absent)
      try await cluster.createIfAbsent()
      #expect(!FileManager.default.fileExists(atPath: leftover.string))
    }
  }

  @Test("refuses data of another release")
  func otherRelease() async throws {
    try await ClusterFixture.withCluster { cluster in
      let version = cluster.files.data.appending("PG_VERSION")
      try await cluster.files.write("9\n", to: version, for: cluster.account())
      let error = await #expect(throws: PostgreSQLInstallationError.self) { try await cluster.start() }
      #expect(error?.description.contains("PostgreSQL 9 is needed") == true)
    }
  }

  @Test(
    "runs as another account when it must",
    .enabled(if: geteuid() == 0 && ServerAccount.account(named: "postgres") != nil, "needs root"))
  func otherAccount() async throws {
    var cluster = EmbeddedCluster(directory: ClusterFixture.newDirectory(), settings: ["fsync": "off"])
    cluster.forcedAccount = ServerAccount.account(named: "postgres")
    let forced = cluster
    try await ClusterFixture.cleaningUp(cluster) {
      #expect(try await ClusterFixture.query(forced.start(), "select 1") == "1")
      try await forced.stop()
      // The owner of the data decides from now on.
      let chosen = EmbeddedCluster(directory: forced.directory)
      #expect(try await chosen.account() == forced.forcedAccount)
      #expect(try await ClusterFixture.query(chosen.start(), "select 1") == "1")
    }
  }

  @Test(
    "gives a cluster made in a user namespace to the account, where namespaces are gone",
    .enabled(if: geteuid() == 0 && ServerAccount.account(named: "postgres") != nil, "needs root"))
  func changedAccount() async throws {
    try await ClusterFixture.withCluster { cluster in
      try await cluster.start()
      try await cluster.stop()
      var other = cluster
      other.forcedAccount = ServerAccount.account(named: "postgres")
      #expect(try await ClusterFixture.query(other.start(), "select 1") == "1")
    }
  }
}
