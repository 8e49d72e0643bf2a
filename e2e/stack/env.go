package stack

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// FromEnv returns the configuration that the environment asks for.
//
// LEDGERLINE_E2E_STACK is the provider, with the number of brokers after a colon if it is not 1:
// embedded (the default), native, native:3, containers, containers:3, external. A native stack with one
// secure broker is native:secure. The addresses of external services are in LEDGERLINE_E2E_BROKERS (with
// commas between), LEDGERLINE_E2E_REGISTRY_URL and LEDGERLINE_E2E_REDIS_URL. If all of them want TLS and a
// password, LEDGERLINE_E2E_SECURITY is a folder for [ReadSecurity]. LEDGERLINE_E2E_CONTROL is the program
// that can end and restart them.
func FromEnv() (Config, error) {
	provider, brokers, counted := strings.Cut(os.Getenv("LEDGERLINE_E2E_STACK"), ":")
	cfg := Config{Provider: Provider(provider), Brokers: 1}
	switch cfg.Provider {
	case "":
		cfg.Provider = Embedded
	case Embedded, Native, Containers:
	case External:
		cfg.Control = os.Getenv(ControlVariable)
		cfg.Addresses = Addresses{
			Brokers:     strings.FieldsFunc(os.Getenv("LEDGERLINE_E2E_BROKERS"), func(r rune) bool { return r == ',' || r == ' ' }),
			RegistryURL: os.Getenv("LEDGERLINE_E2E_REGISTRY_URL"),
			RedisURL:    os.Getenv("LEDGERLINE_E2E_REDIS_URL"),
		}
	default:
		return Config{}, fmt.Errorf("LEDGERLINE_E2E_STACK=%s: no such provider; set it to %s, %s, %s or %s", provider, Embedded, Native, Containers, External)
	}
	if dir := os.Getenv("LEDGERLINE_E2E_SECURITY"); dir != "" && cfg.Provider == External {
		var err error
		if cfg.Addresses.Security, err = ReadSecurity(dir); err != nil {
			return Config{}, fmt.Errorf("LEDGERLINE_E2E_SECURITY: %w", err)
		}
	}
	if cfg.Secure = cfg.Provider == Native && brokers == "secure"; counted && !cfg.Secure {
		n, err := strconv.Atoi(brokers)
		if err != nil || n != 1 && n != 3 {
			return Config{}, fmt.Errorf("LEDGERLINE_E2E_STACK=%s:%s: there can be 1 or 3 brokers, and native:secure", provider, brokers)
		}
		cfg.Brokers = n
	}
	return cfg, nil
}
