"""GrowthEnv and everything that is only its own: world, episodes, families, deficits, actions, features, rewards."""
