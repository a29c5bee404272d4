#if Redis
  import EventStore
  import Foundation
  import Outbox
  import TestSupport
  import Testing

  @testable import RedisRelay

  @Suite("Redis Streams, by a real server", .database, .timeLimit(.minutes(15)))
  struct RedisRelayTests {
    private func withServer(
      _ options: [String] = [], _ body: (ServerProcess, RedisServer, RedisConnection) async throws -> Void
    ) async throws {
      let process = try ServerProcess("redis-server") { folder in
        [
          "--port", "0", "--unixsocket", "\(folder.path)/socket", "--dir", folder.path, "--save", "", "--appendonly",
          "yes",
          "--appendfsync", "always", "--daemonize", "no",
        ] + options
      }
      defer { process.remove() }
      let server = try RedisServer("unix://\(process.folder.path)/socket")
      let connection = RedisConnection(server, timeout: 5)
      try await body(process, server, connection)
    }

    private func waitUntilUp(_ connection: RedisConnection) async throws {
      for _ in 0..<1000 {
        if let replies = try? await connection.run([["PING"]]), replies == [.text("PONG")] { return }
        try await Task.sleep(for: .milliseconds(10))
      }
      Issue.record("Redis does not answer")
    }

    /// The fields of all entries, in order.
    private func entries(_ connection: RedisConnection, _ stream: String) async throws -> [[String: String]] {
      guard case .list(let entries) = try await connection.run([["XRANGE", stream, "-", "+"]])[0] else { return [] }
      return entries.compactMap { entry in
        guard case .list(let parts) = entry, parts.count == 2, case .list(let fields) = parts[1] else { return nil }
        let texts = fields.compactMap { if case .text(let text) = $0 { text } else { nil } }
        return Dictionary(
          uniqueKeysWithValues: stride(from: 0, to: texts.count - 1, by: 2).map { (texts[$0], texts[$0 + 1]) })
      }
    }

    private func event(_ entry: [String: String]) throws -> [String: Any] {
      try #require(try JSONSerialization.jsonObject(with: Data((entry["event"] ?? "").utf8)) as? [String: Any])
    }

    /// The versions of each stream, in the order in which they came first.
    private func versions(_ entries: [[String: String]]) throws -> [String: [Int]] {
      var versions: [String: [Int]] = [:]
      for entry in entries {
        let event = try event(entry)
        let (stream, version) = (event["subject"] as? String ?? "", event["streamversion"] as? Int ?? 0)
        if versions[stream]?.contains(version) != true { versions[stream, default: []].append(version) }
      }
      return versions
    }

    @Test("each event once, those of a stream in order, as a CloudEvent")
    func forwards() async throws {
      try await withServer { _, server, connection in
        try await waitUntilUp(connection)
        try await TestDatabase.required.withLog { log in
          try await Relayed.append(log, streams: 40, each: 25)
          try await log.append(
            [EventData(type: "raw", payload: Payload(bytes: [0, 255, 7], content: .bytes))], to: "other-1",
            expecting: .any)
          try await ConsumerGroups(log).create(ConsumerGroup("redis", policy: Relayed.policy))
          let relay = RedisRelay(server, source: "/test")
          try await GroupConsumer(log, "redis", relay: relay, options: Relayed.untilEmpty).run()
          let entries = try await entries(connection, "events:item")
          #expect(entries.count == 1_000)
          #expect(
            try versions(entries) == Relayed.versions(streams: 40, each: 25))
          let event = try event(entries[0])
          #expect(event["specversion"] as? String == "1.0" && event["id"] as? String == entries[0]["id"])
          #expect(event["source"] as? String == "/test" && entries[0]["key"] == event["subject"] as? String)
          #expect(entries[0]["traceparent"]?.hasPrefix("00-0af7") == true)
          let raw = try await self.entries(connection, "events:other")
          #expect(try self.event(raw[0])["data_base64"] as? String == "AP8H")
        }
      }
    }

    @Test("a server that is killed again and again: nothing is lost, order holds, nothing is given up")
    func killed() async throws {
      try await withServer { process, server, connection in
        try await waitUntilUp(connection)
        try await TestDatabase.required.withLog { log in
          try await Relayed.append(log, streams: 40, each: 100)
          let groups = ConsumerGroups(log)
          try await groups.create(ConsumerGroup("redis", policy: Relayed.policy))
          var options = RedisRelay.Options()
          // Many small transactions, so that the server dies in the middle of them.
          options.batch = 10
          options.timeout = 1
          let relay = RedisRelay(server, source: "/test", options: options)
          let consumer = Task { [log] in
            try await GroupConsumer(log, "redis", relay: relay, options: Relayed.untilEmpty).run()
          }
          for _ in 0..<5 {
            try await Task.sleep(for: .milliseconds(150))
            process.kill()
            try await Task.sleep(for: .milliseconds(50))
            try process.start()
          }
          try await consumer.value
          try await waitUntilUp(connection)
          let entries = try await entries(connection, "events:item")
          #expect(
            try versions(entries) == Relayed.versions(streams: 40, each: 100))
          #expect(Set(entries.compactMap { $0["id"] }).count == 4_000)
          #expect(try await groups.status(of: "redis").parked == 0)
        }
      }
    }

    @Test("a server without memory: events wait, however long; a key of another kind stops the group, with words")
    func refuses() async throws {
      try await withServer { _, server, connection in
        try await waitUntilUp(connection)
        try await TestDatabase.required.withLog { log in
          try await Relayed.append(log, streams: 10, each: 5)
          let groups = ConsumerGroups(log)
          try await groups.create(ConsumerGroup("redis", policy: Relayed.policy))
          _ = try await connection.run([["CONFIG", "SET", "maxmemory", "1"]])
          let relay = RedisRelay(server, source: "/test")
          let consumer = Task { [log] in
            try await GroupConsumer(log, "redis", relay: relay, options: Relayed.untilEmpty).run()
          }
          // Longer than three tries would take.
          try await Task.sleep(for: .seconds(2))
          #expect(try await groups.status(of: "redis").handled == 0)
          _ = try await connection.run([["CONFIG", "SET", "maxmemory", "0"]])
          try await consumer.value
          #expect(try await entries(connection, "events:item").count == 50)
          #expect(try await groups.status(of: "redis").parked == 0)

          _ = try await connection.run([["DEL", "events:item"], ["SET", "events:item", "text"]])
          try await Relayed.append(log, streams: 1, each: 1)
          let error = await #expect(throws: OutboxError.self) {
            try await GroupConsumer(log, "redis", relay: relay, options: Relayed.untilEmpty).run()
          }
          #expect(error?.description.contains("WRONGTYPE") == true)
        }
      }
    }

    @Test("a password, a database, replicas that are not there, a limit")
    func options() async throws {
      try await withServer(["--requirepass", "secret"]) { process, _, _ in
        let server = try RedisServer("unix://:secret@\(process.folder.path)/socket?db=3")
        let connection = RedisConnection(server, timeout: 5)
        try await waitUntilUp(connection)
        try await TestDatabase.required.withLog { log in
          try await Relayed.append(log, streams: 1, each: 1_000)
          let groups = ConsumerGroups(log)
          try await groups.create(ConsumerGroup("redis", policy: Relayed.policy))
          var options = RedisRelay.Options()
          options.timeout = 0.2
          options.replicas = 1
          let relay = RedisRelay(server, source: "/test", options: options) { _ in "all" }
          let waiting = Task { [log] in
            try await GroupConsumer(log, "redis", relay: relay, options: Relayed.untilEmpty).run()
          }
          try await Task.sleep(for: .seconds(1))
          waiting.cancel()
          try await waiting.value
          // Nor is anything added again and again.
          #expect(try await groups.status(of: "redis").handled == 0)
          #expect(try await entries(connection, "all").isEmpty)
          options.replicas = 0
          options.maximumLength = 100
          let other = RedisRelay(server, source: "/test", options: options) { _ in "all" }
          try await GroupConsumer(log, "redis", relay: other, options: Relayed.untilEmpty).run()
          let kept = try await entries(connection, "all")
          #expect(kept.count >= 100 && kept.count < 400)
          #expect(try event(kept[kept.count - 1])["streamversion"] as? Int == 1_000)
        }
        let stranger = RedisConnection(try RedisServer("unix://:wrong@\(process.folder.path)/socket"), timeout: 1)
        await #expect(throws: RedisUnavailable.self) { try await stranger.run([["PING"]]) }
      }
    }

    @Test("a server that becomes a replica, while its address leads to another one: events go there")
    func demoted() async throws {
      try await withServer { process, _, old in
        try await withServer { other, _, new in
          try await waitUntilUp(old)
          try await waitUntilUp(new)
          let address = process.folder.appendingPathComponent("address")
          let files = FileManager.default
          try files.createSymbolicLink(
            at: address, withDestinationURL: process.folder.appendingPathComponent("socket"))
          let server = try RedisServer("unix://\(address.path)")
          try await TestDatabase.required.withLog { log in
            try await Relayed.append(log, streams: 1, each: 3)
            let groups = ConsumerGroups(log)
            try await groups.create(ConsumerGroup("redis", policy: Relayed.policy))
            let relay = RedisRelay(server, source: "/test")
            try await GroupConsumer(log, "redis", relay: relay, options: Relayed.untilEmpty).run()
            #expect(try await entries(old, "events:item").count == 3)
            _ = try await old.run([["REPLICAOF", "127.0.0.1", "1"]])
            try files.removeItem(at: address)
            try files.createSymbolicLink(
              at: address, withDestinationURL: other.folder.appendingPathComponent("socket"))
            try await Relayed.append(log, streams: 1, each: 2)
            let running = Task { try await GroupConsumer(log, "redis", relay: relay).run() }
            for _ in 0..<1000 where try await groups.status(of: "redis").handled < 5 {
              try await Task.sleep(for: .milliseconds(10))
            }
            running.cancel()
            try await running.value
            #expect(try await entries(new, "events:item").count == 2)
          }
        }
      }
    }

    @Test("a user who may not begin a transaction: nothing is added, and the group stops")
    func refusedTransaction() async throws {
      try await withServer { process, _, connection in
        try await waitUntilUp(connection)
        _ = try await connection.run([["ACL", "SETUSER", "half", "on", ">secret", "~*", "+@all", "-multi"]])
        let server = try RedisServer("unix://half:secret@\(process.folder.path)/socket")
        try await TestDatabase.required.withLog { log in
          try await Relayed.append(log, streams: 2, each: 3)
          try await ConsumerGroups(log).create(ConsumerGroup("redis", policy: Relayed.policy))
          let relay = RedisRelay(server, source: "/test")
          let error = await #expect(throws: OutboxError.self) {
            try await GroupConsumer(log, "redis", relay: relay, options: Relayed.untilEmpty).run()
          }
          #expect(error?.description.contains("NOPERM") == true)
          #expect(try await entries(connection, "events:item").isEmpty)
        }
      }
    }

    @Test(
      "addresses that make no sense",
      arguments: [
        "", "localhost:6379", "http://localhost", "redis://", "redis://host/x", "rediss://host", "unix://",
        "redis://h/-1",
      ])
    func addresses(_ url: String) {
      #expect(throws: InvalidRedisServer.self) { try RedisServer(url) }
    }
  }
#endif
