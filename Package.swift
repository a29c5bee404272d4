// swift-tools-version: 6.2
import PackageDescription

/// Every target is built alike: Swift 6 language mode, explicit existentials and imports, and `nonisolated`
/// async functions that run where their caller runs (SE-0461), so that a call costs no hop between executors.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let package = Package(
  name: "eventstore",
  products: [
    .library(name: "EventStore", targets: ["EventStore"]),
    .library(name: "Replay", targets: ["Replay"]),
    .library(name: "Projections", targets: ["Projections"]),
    .library(name: "Outbox", targets: ["Outbox"]),
    .library(name: "Webhooks", targets: ["Webhooks"]),
    .library(name: "RedisRelay", targets: ["RedisRelay"]),
    .library(name: "NATSRelay", targets: ["NATSRelay"]),
    .library(name: "PostgreSQL", targets: ["PostgreSQL"]),
    .library(name: "EmbeddedPostgreSQL", targets: ["EmbeddedPostgreSQL"]),
    .library(name: "EventStoreTesting", targets: ["EventStoreTesting"]),
    .library(name: "EventStoreCommands", targets: ["EventStoreCommands"]),
    .executable(name: "esctl", targets: ["esctl"]),
  ],
  traits: [
    .trait(name: "Redis", description: "RedisRelay, over hiredis (libhiredis-dev)."),
    .trait(name: "NATS", description: "NATSRelay, over the NATS C client (libnats-dev)."),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2", traits: []),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    // The C libraries: a module map and a header each.
    .systemLibrary(name: "CPostgreSQL", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

    // Found by the linker, and only where their trait is on: nobody is told of libraries that he does not use.
    .systemLibrary(name: "CHiredis"),
    .systemLibrary(name: "CNATS"),

    // schema/*.sql becomes `SQL`, an enum of string constants, at build time.
    .executableTarget(name: "embed-sql", swiftSettings: settings),
    .plugin(name: "EmbedSQL", capability: .buildTool(), dependencies: ["embed-sql"]),

    .target(
      name: "PostgreSQL",
      dependencies: [
        "CPostgreSQL",
        .product(name: "DequeModule", package: "swift-collections"),
      ],
      swiftSettings: settings),
    .target(
      name: "EventStore",
      dependencies: [
        "PostgreSQL", "CSodium", "CZstd",
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      swiftSettings: settings,
      plugins: ["EmbedSQL"]),
    .target(
      name: "Replay", dependencies: ["EventStore", "PostgreSQL"], swiftSettings: settings, plugins: ["EmbedSQL"]),
    .target(
      name: "Projections",
      dependencies: [
        "EventStore", "PostgreSQL", "Replay",
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: settings,
      plugins: ["EmbedSQL"]),
    .target(
      name: "Outbox",
      dependencies: [
        "EventStore", "PostgreSQL",
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      swiftSettings: settings,
      plugins: ["EmbedSQL"]),
    // Apart from Outbox, so that nobody links an HTTP client who sends nothing.
    .target(name: "Webhooks", dependencies: ["CSodium", "EventStore", "Outbox"], swiftSettings: settings),
    .target(
      name: "RedisRelay",
      dependencies: ["EventStore", "Outbox", .target(name: "CHiredis", condition: .when(traits: ["Redis"]))],
      swiftSettings: settings),
    .target(
      name: "NATSRelay",
      dependencies: ["EventStore", "Outbox", .target(name: "CNATS", condition: .when(traits: ["NATS"]))],
      swiftSettings: settings),
    .target(
      name: "EmbeddedPostgreSQL",
      dependencies: [
        .product(name: "Subprocess", package: "swift-subprocess"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: settings),
    .target(
      name: "EventStoreTesting",
      dependencies: [
        "EmbeddedPostgreSQL", "EventStore", "PostgreSQL", "Projections", "Replay",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: settings),
    .target(
      name: "EventStoreCommands",
      dependencies: [
        "EventStore", "EmbeddedPostgreSQL", "Outbox", "PostgreSQL", "Projections", "Replay",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Subprocess", package: "swift-subprocess"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: settings,
      plugins: ["EmbedSQL"]),
    .executableTarget(name: "esctl", dependencies: ["EventStoreCommands"], swiftSettings: settings),

    // The databases that tests run against.
    .target(
      name: "TestSupport",
      dependencies: [
        "EmbeddedPostgreSQL", "EventStore", "Outbox", "PostgreSQL",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/TestSupport",
      swiftSettings: settings),
    .executableTarget(
      name: "append-worker", dependencies: ["EventStore"], path: "Tests/AppendWorker", swiftSettings: settings),
    .testTarget(
      name: "EventStoreTests",
      dependencies: [
        "EmbeddedPostgreSQL", "EventStore", "EventStoreTesting", "PostgreSQL", "TestSupport", "append-worker",
        .product(name: "Subprocess", package: "swift-subprocess"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "ReplayTests", dependencies: ["EventStore", "PostgreSQL", "Replay", "TestSupport"], swiftSettings: settings),
    .testTarget(
      name: "ProjectionsTests",
      dependencies: [
        "EventStore", "EventStoreTesting", "Outbox", "PostgreSQL", "Projections", "Replay", "TestSupport",
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "outbox-worker", dependencies: ["EventStore", "Outbox", "PostgreSQL"], path: "Tests/OutboxWorker",
      swiftSettings: settings),
    .testTarget(
      name: "OutboxTests",
      dependencies: [
        "EventStore", "Outbox", "PostgreSQL", "TestSupport", "outbox-worker",
        .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "WebhooksTests", dependencies: ["EventStore", "Outbox", "TestSupport", "Webhooks"], swiftSettings: settings),
    .testTarget(
      name: "RedisRelayTests", dependencies: ["EventStore", "Outbox", "RedisRelay", "TestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "NATSRelayTests",
      dependencies: [
        "EventStore", "NATSRelay", "Outbox", "TestSupport",
        .target(name: "CNATS", condition: .when(traits: ["NATS"])),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "EventStoreCommandsTests",
      dependencies: [
        "EventStore", "EventStoreCommands", "PostgreSQL", "TestSupport", "esctl",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "EmbeddedPostgreSQLTests",
      dependencies: [
        "EmbeddedPostgreSQL",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "PostgreSQLTests", dependencies: ["PostgreSQL", "TestSupport"], swiftSettings: settings),
  ]
)
