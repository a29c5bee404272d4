// swift-tools-version: 6.2
import PackageDescription

// Programs that use the event store. CI builds them, runs their tests, and compares the first with the README.
let package = Package(
  name: "examples",
  dependencies: [
    .package(name: "eventstore", path: ".."),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
  ],
  targets: [
    .executableTarget(
      name: "Quickstart",
      dependencies: [
        .product(name: "EventStore", package: "eventstore"),
        .product(name: "EmbeddedPostgreSQL", package: "eventstore"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)]),

    // A bank: its aggregate and its use cases, a service, and an `esctl` that knows its accounts.
    .target(
      name: "Bank",
      dependencies: [
        .product(name: "EventStore", package: "eventstore"),
        .product(name: "PostgreSQL", package: "eventstore"),
        .product(name: "Projections", package: "eventstore"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)]),
    .executableTarget(
      name: "bank-service",
      dependencies: [
        "Bank",
        .product(name: "EmbeddedPostgreSQL", package: "eventstore"),
        .product(name: "Projections", package: "eventstore"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)]),
    .executableTarget(
      name: "bankctl",
      dependencies: ["Bank", .product(name: "EventStoreCommands", package: "eventstore")],
      swiftSettings: [.swiftLanguageMode(.v6)]),
    .testTarget(
      name: "BankTests",
      dependencies: ["Bank", .product(name: "EventStoreTesting", package: "eventstore")],
      swiftSettings: [.swiftLanguageMode(.v6)]),
  ]
)
