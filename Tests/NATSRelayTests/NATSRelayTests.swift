#if NATS
  import EventStore
  import Foundation
  import NATSRelay
  import Outbox
  import TestSupport
  import Testing

  @Suite("NATS JetStream, by a real server", .database, .timeLimit(.minutes(15)))
  struct NATSRelayTests {
    private func relay(_ server: JetStream, timeout: Double = 1) -> NATSRelay {
      var options = NATSRelay.Options()
      options.timeout = timeout
      return NATSRelay([server.url], source: "/test", options: options)
    }

    private func versions(_ messages: [JetStream.Message]) -> [String: [Int]] {
      var versions: [String: [Int]] = [:]
      for message in messages {
        versions[message.data["subject"] as? String ?? "", default: []].append(
          message.data["streamversion"] as? Int ?? 0)
      }
      return versions
    }

    @Test("each event once, those of a stream in order, as a CloudEvent; a replay once more")
    func forwards() async throws {
      let server = try JetStream(port: freePort())
      defer { server.server.remove() }
      try server.makeStream("events.>")
      try await TestDatabase.required.withLog { log in
        try await Relayed.append(log, streams: 40, each: 25)
        let groups = ConsumerGroups(log)
        try await groups.create(ConsumerGroup("nats", policy: Relayed.policy))
        let relay = relay(server)
        try await GroupConsumer(log, "nats", relay: relay, options: Relayed.untilEmpty).run()
        let messages = try server.messages()
        #expect(messages.count == 1_000)
        #expect(versions(messages) == Relayed.versions(streams: 40, each: 25))
        #expect(messages[0].data["specversion"] as? String == "1.0" && messages[0].data["source"] as? String == "/test")
        #expect(messages[0].id == messages[0].data["id"] as? String)
        #expect(messages[0].key == messages[0].data["subject"] as? String)
        #expect(messages[0].traceparent?.hasPrefix("00-0af7") == true)
        // All of it again, as after a loss of the cursor: JetStream knows them. A replay is meant.
        try await groups.seek("nats", to: .beginning)
        try await GroupConsumer(log, "nats", relay: relay, options: Relayed.untilEmpty).run()
        #expect(try server.messages().count == 1_000)
        _ = try await groups.replay("nats", after: .start, upTo: Position("10") ?? .start)
        try await GroupConsumer(log, "nats", relay: relay, options: Relayed.untilEmpty).run()
        #expect(try server.messages().count == 1_010)
      }
    }

    @Test("a server that is killed again and again: each event once, in order, nothing is given up")
    func killed() async throws {
      let server = try JetStream(port: freePort())
      defer { server.server.remove() }
      try server.makeStream("events.>")
      try await TestDatabase.required.withLog { log in
        try await Relayed.append(log, streams: 40, each: 100)
        let groups = ConsumerGroups(log)
        try await groups.create(ConsumerGroup("nats", policy: Relayed.policy))
        let relay = relay(server)
        let consumer = Task { [log] in
          try await GroupConsumer(log, "nats", relay: relay, options: Relayed.untilEmpty).run()
        }
        for _ in 0..<4 {
          try await Task.sleep(for: .milliseconds(200))
          server.server.kill()
          try await Task.sleep(for: .milliseconds(100))
          try server.server.start()
        }
        try await consumer.value
        #expect(
          versions(try server.messages())
            == Relayed.versions(streams: 40, each: 100))
        #expect(try await groups.status(of: "nats").parked == 0)
      }
    }

    @Test(
      "no stream: events wait until there is one; what is too large is a dead letter; a bad subject stops the group")
    func refuses() async throws {
      let server = try JetStream(port: freePort())
      defer { server.server.remove() }
      try await TestDatabase.required.withLog { log in
        try await Relayed.append(log, streams: 5, each: 2)
        try await Relayed.append(log, streams: 1, each: 1, bytes: 5_000)
        let groups = ConsumerGroups(log)
        try await groups.create(ConsumerGroup("nats", policy: Relayed.policy))
        let relay = relay(server)
        let consumer = Task { [log] in
          try await GroupConsumer(log, "nats", relay: relay, options: Relayed.untilEmpty).run()
        }
        // Longer than three tries would take.
        try await Task.sleep(for: .seconds(1.5))
        #expect(try await groups.status(of: "nats").handled == 0)
        try server.makeStream("events.>", largest: 2_000)
        try await consumer.value
        #expect(try server.messages().count == 10)
        let letters = try await groups.parked(of: "nats")
        #expect(letters.map(\.version) == [3] && letters[0].attempts == 1)

        try await groups.create(ConsumerGroup("bad", policy: Relayed.policy))
        for subject in ["", "events.", "events.a b", "events.a\r\nPUB x", "events.*"] {
          let bad = NATSRelay([server.url], source: "/test") { _ in subject }
          let error = await #expect(throws: OutboxError.self) {
            try await GroupConsumer(log, "bad", relay: bad, options: Relayed.untilEmpty).run()
          }
          #expect(error?.description.contains("is no subject") == true)
          try await groups.resume("bad")
        }
      }
    }

    @Test("a server that lets nobody in for a while, until the library has given up: then it goes on")
    func refused() async throws {
      let server = try JetStream(port: freePort(), user: "app:good")
      defer { server.server.remove() }
      try server.makeStream("events.>")
      try await TestDatabase.required.withLog { log in
        try await Relayed.append(log, streams: 3, each: 2)
        let groups = ConsumerGroups(log)
        try await groups.create(ConsumerGroup("nats", policy: Relayed.policy))
        let relay = relay(server)
        let consumer = Task { [log] in
          var options = Relayed.untilEmpty
          options.endsWhenEmpty = false
          try await GroupConsumer(log, "nats", relay: relay, options: options).run()
        }
        while try await groups.status(of: "nats").handled < 6 { try await Task.sleep(for: .milliseconds(20)) }
        server.server.kill()
        try server.server.start(JetStream.login("app:other"))
        try await Relayed.append(log, streams: 3, each: 2)
        try await Task.sleep(for: .seconds(2.5))
        server.server.kill()
        try server.server.start(JetStream.login("app:good"))
        while try await groups.status(of: "nats").handled < 12 { try await Task.sleep(for: .milliseconds(20)) }
        consumer.cancel()
        try await consumer.value
        #expect(
          versions(try server.messages())
            == Relayed.versions(streams: 3, each: 4))
      }
    }

    @Test("a server that is not there yet")
    func late() async throws {
      let port = try freePort()
      try await TestDatabase.required.withLog { log in
        try await Relayed.append(log, streams: 3, each: 1)
        let groups = ConsumerGroups(log)
        try await groups.create(ConsumerGroup("nats", policy: Relayed.policy))
        let relay = NATSRelay(["nats://127.0.0.1:\(port)"], source: "/test")
        let consumer = Task { [log] in
          try await GroupConsumer(log, "nats", relay: relay, options: Relayed.untilEmpty).run()
        }
        try await Task.sleep(for: .seconds(0.5))
        let server = try JetStream(port: port)
        defer { server.server.remove() }
        try server.makeStream("events.>")
        try await consumer.value
        #expect(try server.messages().count == 3)
      }
    }
  }
#endif
